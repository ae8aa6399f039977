import Host
import Synchronization

/// When something was started again within the last minute.
final class RestartCount: Sendable {
    private let times = Mutex<[Int64]>([])
    private static let minute: Int64 = 60_000

    /// Whether it may be started once more, which then counts: `limit` times within a minute.
    func mayRestart(_ limit: Int) -> Bool {
        times.withLock { times in
            let now = MonotonicTime.now
            times.removeAll { $0 < now - Self.minute }
            guard times.count < limit else { return false }
            times.append(now)
            return true
        }
    }
}
