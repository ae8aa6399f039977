public import Schema
import Virtio
import VirtioDriver

extension OpenDisk {
    /// What there is to know of a disk, for people and programs.
    public func describe() throws(VMError) -> JSONValue {
        let features = driver.transport.features
        var document: [String: JSONValue] = [
            "capacity": .integer(Int64(clamping: information.capacity)),
            "flush": .bool(features.contains(.blkFlush)),
            "queues": .integer(Int64(information.queues)),
            "features": .string("0x\(String(features.rawValue, radix: 16))"),
        ]
        // An image was opened by us, to be read only.
        if !isImage { document["readOnly"] = .bool(features.contains(.blkReadOnly)) }
        if let size = information.blockSize { document["blockSize"] = .integer(Int64(size)) }
        if let segments = information.segments { document["segments"] = .integer(Int64(segments)) }
        if let bytes = information.segmentBytes { document["segmentBytes"] = .integer(Int64(bytes)) }
        if information.discardBytes > 0 { document["discardBytes"] = .integer(Int64(clamping: information.discardBytes)) }
        if information.zeroBytes > 0 { document["writeZeroesBytes"] = .integer(Int64(clamping: information.zeroBytes)) }
        // A device need not have a name.
        let identity = try use { (queue) throws(DriverError) -> String in
            do throws(DriverError) { return try queue.identity() } catch {
                if case .failed = error { return "" }
                throw error
            }
        }
        if !identity.isEmpty { document["serial"] = .string(identity) }
        return .object(document)
    }
}
