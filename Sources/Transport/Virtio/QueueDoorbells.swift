import Host
import Hypervisor
import Synchronization

/// The doorbells of one device: which write of the guest signals which queue's kick without an exit.
///
/// A doorbell is registered when its queue first becomes active and stays until the registers move: a kick of a queue that does not
/// run is harmless, and each (un)registration makes the kernel wait for a grace period.
final class QueueDoorbells: Sendable {
    private struct State {
        /// Where the transport's registers are; nil while the guest cannot reach them.
        var base: UInt64?
        var wanted: [Bool]
        var registered: [Doorbell?]
    }

    private let registry: any DoorbellRegistry
    private let kicks: [EventFD]
    private let log: GuestLog
    private let doorbell: @Sendable (_ base: UInt64, _ queue: Int) -> Doorbell
    private let state: Mutex<State>

    init(
        registry: any DoorbellRegistry, kicks: [EventFD], log: GuestLog, base: UInt64?,
        doorbell: @escaping @Sendable (_ base: UInt64, _ queue: Int) -> Doorbell
    ) {
        self.registry = registry
        self.kicks = kicks
        self.log = log
        self.doorbell = doorbell
        state = Mutex(
            State(
                base: base, wanted: Array(repeating: false, count: kicks.count), registered: Array(repeating: nil, count: kicks.count)))
    }

    deinit { move(to: nil) }

    /// Registers the queue's doorbell.
    func arm(_ queue: Int) {
        guard kicks.indices.contains(queue) else { return }
        state.withLock {
            $0.wanted[queue] = true
            reconcile(queue, &$0)
        }
    }

    /// Follows the registers to another address, or to none.
    func move(to base: UInt64?) {
        state.withLock {
            guard $0.base != base else { return }
            $0.base = base
            for queue in kicks.indices { reconcile(queue, &$0) }
        }
    }

    /// A doorbell that cannot be registered is only slower: its write exits, and the transport signals the kick.
    private func reconcile(_ queue: Int, _ state: inout State) {
        let target = state.wanted[queue] ? state.base.map { doorbell($0, queue) } : nil
        guard target != state.registered[queue] else { return }
        if let old = state.registered[queue] {
            state.registered[queue] = nil
            do throws(SystemError) { try registry.remove(old, event: kicks[queue]) } catch {
                log.report("the doorbell of queue \(queue) could not be removed: \(error)")
            }
        }
        if let target {
            do throws(SystemError) {
                try registry.add(target, event: kicks[queue])
                state.registered[queue] = target
            } catch {
                log.report("the doorbell of queue \(queue) could not be registered: \(error)")
            }
        }
    }
}
