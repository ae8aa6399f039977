import CLinux
import Host
import Synchronization
import Virtqueue

/// Gets a virtual processor out of the guest, from any thread.
///
/// Free of races: the request is a flag that KVM reads on the way into the guest, and a signal for a thread that is already there. A
/// request stays until it is cleared.
public final class VCPUHandle: Sendable {
    private let area: MemoryMapping
    /// The thread that is about to enter or in KVM_RUN; 0 when none is.
    private let thread = Atomic<Int32>(0)

    init(_ area: MemoryMapping) { self.area = area }

    /// Makes the processor's current or next `run` return `.interrupted` as soon as the guest's pending reads and writes are complete.
    public func requestExit() {
        unsafe swv_kvm_set_immediate_exit(area.range.base, 1)
        let running = thread.load(ordering: .sequentiallyConsistent)
        if running != 0 { swv_kvm_kick(running) }
    }

    /// Takes the request back. Whoever runs the processor calls this first and looks afterwards at what was asked of it: the other way
    /// round a request that comes in between would be lost.
    public func clearExitRequest() { unsafe swv_kvm_set_immediate_exit(area.range.base, 0) }

    /// Runs `body`, which enters KVM_RUN, as the thread that a request signals.
    func entering<Result>(_ body: () -> Result) -> Result {
        thread.store(swv_kvm_enter_thread(), ordering: .sequentiallyConsistent)
        let result = body()
        thread.store(0, ordering: .sequentiallyConsistent)
        return result
    }
}
