import GuestMemory
import Host
import Virtio
import Virtqueue

// The log of what the device writes (vhost-user, Logging memory write). RAM with a log is other RAM: turning it on or off makes running rings
// stop and go on, so that all that was written before is there, and all that comes after is noted; and a device without a log pays nothing.

extension BackendSession {
    /// From now on what is written is noted there, while VHOST_F_LOG_ALL is negotiated.
    mutating func setLog(_ log: LogDescription, _ descriptors: inout PassedDescriptors) throws(VhostUserError) {
        guard protocolFeatures?.contains(.logMemory) == true else { throw .violation("SET_LOG_BASE came without being negotiated.") }
        guard let file = descriptors.takeFirst() else { throw .violation("SET_LOG_BASE came without a descriptor.") }
        do { logBitmap = try WriteBitmap(foreign: file, size: log.size, offset: log.offset) } catch {
            let isImpossible = error.errno == .invalidArgument || error.errno == .fileTooLarge
            throw VhostUserError(
                isImpossible ? .violation : .host,
                "SET_LOG_BASE has \(log.size) bytes at \(log.offset) that are not in a sealed memory file or cannot be mapped (\(error)).")
        }
        try followLog()
    }

    /// Has RAM made anew if its log is not the one that the front-end wants now; whether that was so.
    @discardableResult
    mutating func followLog() throws(VhostUserError) -> Bool {
        guard memory != nil, writeLog(table) != usedLog else { return false }
        try changeMemory { (_) throws(VhostUserError) in }
        return true
    }

    /// The log that RAM should have. Rings are noted where they lie, like all else; where the front-end says that a used ring is to be noted
    /// under another address, there as well.
    func writeLog(_ table: BackendMemory) -> ForeignLog? {
        guard isLogging, let logBitmap else { return nil }
        var aliases: [ForeignLog.Alias] = []
        for ring in rings {
            guard let addresses = ring.addresses, addresses.flags & RingAddresses.isLogged != 0,
                let area = table.guestAddress(ofUser: addresses.deviceArea), area != addresses.log
            else { continue }
            let size = UInt64(features.ring.format.byteCount(of: .device, size: ring.maxSize))
            aliases.append(ForeignLog.Alias(guestAddress: area, size: size, logAddress: addresses.log))
        }
        return ForeignLog(logBitmap, aliases: aliases)
    }
}
