import Host
import Hypervisor
import Synchronization

@testable import Machine

/// Stands for KVM: keeps the routes and the messages that were sent, and can refuse both.
final class RoutingRecorder: InterruptRouting {
    struct Contents: Sendable {
        var routes: [UInt32: MSIMessage] = [:]
        var changes = 0
        var sent: [MSIMessage] = []
        var refuses = false
        /// What `send` answers while it refuses.
        var refusal = Errno.invalidArgument
    }
    let contents = Mutex(Contents())

    func allocateGSI() throws(SystemError) -> UInt32 { 24 }
    func releaseGSI(_ gsi: UInt32) {}
    func attach(_ event: EventFD, to gsi: UInt32) throws(SystemError) {}
    func detach(_ event: EventFD, from gsi: UInt32) throws(SystemError) {}

    func setMessage(_ message: MSIMessage?, for gsi: UInt32) throws(SystemError) {
        let refused = contents.withLock { contents in
            guard contents.routes[gsi] != message else { return false }
            if contents.refuses { return true }
            contents.routes[gsi] = message
            contents.changes += 1
            return false
        }
        if refused { throw SystemError("KVM_SET_GSI_ROUTING", .invalidArgument) }
    }

    func send(_ message: MSIMessage) throws(SystemError) {
        let refusal: Errno? = contents.withLock { contents in
            if contents.refuses { return contents.refusal }
            contents.sent.append(message)
            return nil
        }
        if let refusal { throw SystemError("KVM_SIGNAL_MSI", refusal) }
    }

    func route(_ gsi: UInt32) -> MSIMessage? { contents.withLock { $0.routes[gsi] } }
    /// What was sent since the last call.
    func take() -> [MSIMessage] {
        contents.withLock { contents in
            defer { contents.sent = [] }
            return contents.sent
        }
    }
}

extension IOAPIC {
    func readIndexed(_ index: UInt64) -> UInt64 {
        write(index, at: 0x00, width: 4)
        return read(at: 0x10, width: 4)
    }

    func writeIndexed(_ index: UInt64, _ value: UInt64) {
        write(index, at: 0x00, width: 4)
        write(value, at: 0x10, width: 4)
    }

    /// Writes a redirection entry as Linux does: the high half first.
    func program(_ pin: Int, _ entry: UInt64) {
        writeIndexed(0x11 + 2 * UInt64(pin), entry >> 32)
        writeIndexed(0x10 + 2 * UInt64(pin), entry & 0xFFFF_FFFF)
    }

    func entry(_ pin: Int) -> UInt64 { readIndexed(0x10 + 2 * UInt64(pin)) | readIndexed(0x11 + 2 * UInt64(pin)) << 32 }
}

/// Bits of a redirection entry.
enum Bits {
    static let logical: UInt64 = 1 << 11
    static let activeLow: UInt64 = 1 << 13
    static let remoteIRR: UInt64 = 1 << 14
    static let level: UInt64 = 1 << 15
    static let masked: UInt64 = 1 << 16
    static func destination(_ id: UInt64) -> UInt64 { id << 56 }
}
