import Host
import Hypervisor
import Synchronization

/// The threads of the virtual CPUs, and what they are told: to run, to stand still, to end.
///
/// A thread that stands still has put its CPU where others can take it, and waits. It does not end, because KVM waits for a grace period of
/// RCU when another thread runs a CPU for the first time.
final class VCPUThreads: Sendable {
    enum Order: UInt8, AtomicRepresentable { case run, stand, end }

    /// How long a CPU may take to stand still, in milliseconds: a device that it talks to may have to finish something first.
    private static let patience: Int64 = 10_000

    /// One CPU, its thread, and how to reach both.
    private struct Member {
        let handle: VCPUHandle
        let seat: Seat
        let thread: WorkerThread<Bool>
    }

    /// What a thread shares with whoever gives orders.
    private final class Seat: Sendable {
        /// Holds the CPU while it does not run.
        let slot: Slot<KVMVirtualCPU>
        /// Signalled for a thread that waits.
        let go: EventFD
        /// Whether the CPU is in the slot.
        let stands = Atomic(false)

        init(_ cpu: consuming KVMVirtualCPU) throws(SystemError) {
            slot = Slot(cpu)
            go = try EventFD()
        }
    }

    private final class Orders: Sendable {
        let order: Atomic<Order>
        /// Signalled by every thread that has come to stand.
        let arrival: EventFD

        init(_ order: Order) throws(SystemError) {
            self.order = Atomic(order)
            arrival = try EventFD()
        }

        var current: Order { order.load(ordering: .sequentiallyConsistent) }
    }

    private let orders: Orders
    private let members = Mutex<[Member]>([])

    /// No threads yet. Those that come stand still until `run` is called, so that no CPU looks for another one that is not there yet.
    init() throws(SystemError) { orders = try Orders(.stand) }

    /// Starts the thread of a CPU, which calls `step` again and again: until it returns true, or until it is told otherwise.
    func add(
        _ cpu: consuming KVMVirtualCPU, step: @escaping @Sendable (inout KVMVirtualCPU) -> VCPUStep
    ) throws(SystemError) {
        let handle = cpu.handle
        let id = cpu.id
        let seat = try Seat(cpu)
        let orders = orders
        let thread = try WorkerThread(name: "vcpu\(id)", state: true) { _, _ in Self.live(seat, orders, step) }
        members.withLock { $0.append(Member(handle: handle, seat: seat, thread: thread)) }
    }

    private static func live(_ seat: Seat, _ orders: Orders, _ step: (inout KVMVirtualCPU) -> VCPUStep) {
        while true {
            switch orders.current {
            case .end: return
            case .stand:
                seat.stands.store(true, ordering: .sequentiallyConsistent)
                orders.arrival.signal()
                _ = seat.go.wait()
            case .run:
                // In this order: whoever gives an order looks at `stands` afterwards, so that one of the two sees the other.
                seat.stands.store(false, ordering: .sequentiallyConsistent)
                guard orders.current == .run, var cpu = seat.slot.take() else { continue }
                // Likewise: a request to exit that comes with a new order comes after this, or the order is seen here.
                cpu.handle.clearExitRequest()
                guard orders.current == .run else {
                    seat.slot.put(cpu)
                    continue
                }
                var result = VCPUStep.goOn
                // An order alone is no reason to leave: a read or write may be pending, which the next entry completes before the request
                // to exit takes effect.
                while result == .goOn { result = step(&cpu) }
                seat.slot.put(cpu)
                if result == .end {
                    seat.stands.store(true, ordering: .sequentiallyConsistent)
                    orders.arrival.signal()
                    return
                }
            }
        }
    }

    /// Has all CPUs stand still, with their last reads and writes complete; false when one does not come in time, and then all run on.
    func stand() -> Bool {
        give(.stand)
        let deadline = MonotonicTime.now + Self.patience
        while !members.withLock({ $0.allSatisfy { $0.seat.stands.load(ordering: .sequentiallyConsistent) } }) {
            let left = deadline - MonotonicTime.now
            guard left > 0 else {
                run()
                return false
            }
            _ = orders.arrival.wait(timeoutMilliseconds: left)
        }
        return true
    }

    /// Has all CPUs run.
    func run() { give(.run) }

    /// Ends all threads, and waits for them.
    func end() {
        give(.end)
        let members = members.withLock { members in
            defer { members = [] }
            return members
        }
        for member in members { _ = member.thread.stop() }
    }

    private func give(_ order: Order) {
        orders.order.store(order, ordering: .sequentiallyConsistent)
        members.withLock { members in
            for member in members {
                member.handle.requestExit()
                member.seat.go.signal()
            }
        }
    }

    /// Calls `body` with each CPU, in order, while all stand still.
    func forEach<Failure: Error>(_ body: (inout KVMVirtualCPU) throws(Failure) -> Void) throws(Failure) {
        let seats = members.withLock { $0.map(\.seat) }
        for seat in seats {
            guard var cpu = seat.slot.take() else { continue }
            do throws(Failure) {
                try body(&cpu)
            } catch {
                seat.slot.put(cpu)
                throw error
            }
            seat.slot.put(cpu)
        }
    }
}

/// What one entry into the guest led to.
enum VCPUStep: Equatable {
    /// The exit was answered: enter again.
    case goOn
    /// Nothing of the guest is pending, and somebody has asked for attention.
    case interrupted
    /// The machine has come to its end.
    case end
}
