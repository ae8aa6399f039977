import Host
import Synchronization

/// How far something is, on a terminal; nothing where there is none.
public final class ProgressLine: Sendable {
    private let verb: String
    private let total: UInt64?
    private let isShown = StandardError.isTerminal
    private let last = Mutex<(time: Int64, isOpen: Bool)>((0, false))

    /// A line that begins with `verb`; `total` in bytes, where it is known.
    public init(_ verb: String, total: UInt64?) {
        self.verb = verb
        self.total = total
    }

    /// So many bytes are done. Written at most five times in a second.
    public func show(_ bytes: UInt64) {
        guard isShown else { return }
        let now = MonotonicTime.now
        let isDue = last.withLock { last in
            guard now - last.time >= 200 else { return false }
            last = (now, true)
            return true
        }
        guard isDue else { return }
        let amount = "\(bytes >> 20) MiB"
        let text = total.map { total in "\(amount) of \(total >> 20) MiB (\(total == 0 ? 100 : bytes * 100 / total) %)" } ?? amount
        StandardError.write("\r\(verb): \(text) ")
    }

    /// Takes the line away.
    public func end() {
        guard last.withLock({ $0.isOpen }) else { return }
        StandardError.write("\r\u{1b}[K")
    }
}
