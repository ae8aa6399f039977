import Host
import Virtqueue

/// Counts what passed and what failed, and says so.
final class Report {
    private(set) var passed = 0
    private(set) var failed = 0
    private let output = try? OwnedDescriptor.duplicating(inherited: 1)

    /// Notes one result; `problem` nil is a success.
    func note(_ name: String, _ problem: String?, context: [String] = []) {
        if let problem {
            failed += 1
            say("FAILED  \(name): \(problem)")
            for line in context { say("        | \(line)") }
        } else {
            passed += 1
            say("ok      \(name)")
        }
    }

    /// How much has been noted.
    var mark: (passed: Int, failed: Int) { (passed, failed) }

    /// What was noted since then does not count; `why` is said.
    func withdraw(since mark: (passed: Int, failed: Int), _ why: String) {
        (passed, failed) = mark
        say("AGAIN   \(why)")
    }

    /// Something worth knowing that is neither.
    func remark(_ text: String) { say("        \(text)") }

    /// Each line goes out at once: whoever waits for hours wants to see how far it is.
    private func say(_ line: String) {
        let bytes = Array("\(line)\n".utf8)
        _ = try? output?.write(bytes.span.untyped)
    }

    /// Prints the closing line and ends the suite.
    func close() -> Never {
        say("\(passed) passed, \(failed) failed")
        leave(with: failed == 0 ? 0 : 1)
    }
}
