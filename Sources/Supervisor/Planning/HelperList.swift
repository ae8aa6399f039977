import Synchronization

/// Helpers that were started while the VM ran.
final class HelperList: Sendable {
    private let helpers = Mutex<[PasstProcess]>([])

    func add(_ helper: PasstProcess) { helpers.withLock { $0.append(helper) } }

    /// Ends all of them.
    func stop() { for helper in helpers.withLock({ $0 }) { helper.stop() } }
}
