import Host
import Hypervisor
import Synchronization
import Transport

/// Stands in for KVM's routing table and irqfds: remembers routes, and delivers what a test asks it to deliver.
final class FakeRouting: InterruptRouting {
    struct State {
        var next: UInt32 = 24
        var messages: [UInt32: MSIMessage] = [:]
        var attached: [(event: EventFD, gsi: UInt32)] = []
        var sent: [MSIMessage] = []
        var free = 1000
    }
    let state = Mutex(State())

    func allocateGSI() throws(SystemError) -> UInt32 {
        let gsi = state.withLock { state -> UInt32? in
            guard state.free > 0 else { return nil }
            state.free -= 1
            state.next += 1
            return state.next - 1
        }
        guard let gsi else { throw SystemError("allocateGSI", .noSpace) }
        return gsi
    }
    func releaseGSI(_ gsi: UInt32) { state.withLock { _ = $0.messages.removeValue(forKey: gsi) } }
    func setMessage(_ message: MSIMessage?, for gsi: UInt32) throws(SystemError) { state.withLock { $0.messages[gsi] = message } }
    func attach(_ event: EventFD, to gsi: UInt32) throws(SystemError) {
        state.withLock { state in
            state.attached.append((event, gsi))
            if event.drain(), let message = state.messages[gsi] { state.sent.append(message) }
        }
    }
    func detach(_ event: EventFD, from gsi: UInt32) throws(SystemError) {
        let found = state.withLock { state in
            let before = state.attached.count
            state.attached.removeAll { $0.event === event && $0.gsi == gsi }
            return state.attached.count == before - 1
        }
        if !found { throw SystemError("detach", .noEntry) }
    }
    func send(_ message: MSIMessage) throws(SystemError) { state.withLock { $0.sent.append(message) } }

    /// What reached the guest since the last call: signals of attached events and messages sent, as their data.
    func delivered() -> [UInt32] {
        state.withLock { state in
            for (event, gsi) in state.attached where event.drain() {
                if let message = state.messages[gsi] { state.sent.append(message) }
            }
            defer { state.sent = [] }
            return state.sent.map(\.data)
        }
    }
    var attachedCount: Int { state.withLock { $0.attached.count } }
    var attachedGSIs: Set<UInt32> { state.withLock { Set($0.attached.map(\.gsi)) } }
    func refuseGSIs() { state.withLock { $0.free = 0 } }
}

/// Stands in for KVM's ioeventfds.
final class FakeDoorbells: DoorbellRegistry {
    private let state = Mutex<[Doorbell: EventFD]>([:])
    let refuses = Atomic<Bool>(false)

    func add(_ doorbell: Doorbell, event: EventFD) throws(SystemError) {
        if refuses.load(ordering: .relaxed) { throw SystemError("KVM_IOEVENTFD", .noSpace) }
        let isNew = state.withLock { $0.updateValue(event, forKey: doorbell) == nil }
        if !isNew { throw SystemError("KVM_IOEVENTFD", .exists) }
    }
    func remove(_ doorbell: Doorbell, event: EventFD) throws(SystemError) {
        let removed = state.withLock { $0.removeValue(forKey: doorbell) === event }
        if !removed { throw SystemError("KVM_IOEVENTFD", .noEntry) }
    }
    var registered: Set<Doorbell> { state.withLock { Set($0.keys) } }

    /// What the hypervisor does with a guest's write; false when no doorbell catches it.
    func ring(address: UInt64, width: UInt32, value: UInt64) -> Bool {
        state.withLock { doorbells in
            for (doorbell, event) in doorbells
            where doorbell.address == address && (doorbell.width == 0 || doorbell.width == width)
                && (doorbell.match == nil || doorbell.match == value)
            {
                event.signal()
                return true
            }
            return false
        }
    }
}

/// Remembers the level of a line.
final class FakeLine: InterruptLine {
    private let level = Atomic<Bool>(false)
    let changes = Atomic<Int>(0)
    func setLevel(_ high: Bool) {
        level.store(high, ordering: .relaxed)
        changes.add(1, ordering: .relaxed)
    }
    var isHigh: Bool { level.load(ordering: .relaxed) }
}

/// A device that only takes up room on a bus.
final class Placeholder: BusDevice {
    func read(at offset: UInt64, width: Int) -> UInt64 { 0 }
    func write(_ value: UInt64, at offset: UInt64, width: Int) {}
}
