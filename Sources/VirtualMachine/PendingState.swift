public import Host
import Synchronization

/// A saved state that a thread of its own reads, while whoever restores the machine opens devices and has KVM make room for RAM. On a host
/// with one processor that costs a thread; on any other it takes reading the largest document out of a restore's time.
public final class PendingState: Sendable {
    private typealias Outcome = Result<MachineState, MachineStartError>

    private let thread: WorkerThread<Outcome?>
    private let outcome = Mutex<Outcome?>(nil)

    /// Begins to read.
    public init(_ read: @escaping @Sendable () throws(MachineStartError) -> MachineState) throws(SystemError) {
        thread = try WorkerThread(name: "state", state: nil) { outcome, _ in
            do throws(MachineStartError) { outcome = .success(try read()) } catch { outcome = .failure(error) }
        }
    }

    /// The state; waits until it has been read.
    public func value() throws(MachineStartError) -> MachineState {
        let result: Outcome? = outcome.withLock { outcome in
            if outcome == nil { outcome = thread.stop() ?? nil }
            return outcome
        }
        guard let result else { throw MachineStartError(.state, "was not read.") }
        return try result.get()
    }
}
