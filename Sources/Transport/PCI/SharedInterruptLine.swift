import Hypervisor
import Synchronization

/// Several functions on one level-triggered line: it is high while any of them holds it high.
final class SharedInterruptLine: Sendable {
    private let line: any InterruptLine
    private let holders = Mutex(0)

    init(_ line: any InterruptLine) { self.line = line }

    /// One function's hold on the line.
    func tap() -> any InterruptLine { Tap(self) }

    private func change(by amount: Int) {
        // Under the lock, so that the level the controller sees last is the one counted last.
        holders.withLock { holders in
            let before = holders > 0
            holders += amount
            if (holders > 0) != before { line.setLevel(holders > 0) }
        }
    }

    private final class Tap: InterruptLine {
        private let shared: SharedInterruptLine
        private let level = Mutex(false)

        init(_ shared: SharedInterruptLine) { self.shared = shared }

        func setLevel(_ high: Bool) {
            level.withLock { level in
                guard level != high else { return }
                level = high
                shared.change(by: high ? 1 : -1)
            }
        }

        deinit { setLevel(false) }
    }
}
