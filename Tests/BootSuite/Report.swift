import Host

/// Counts what passed and what failed, and says so.
final class Report {
    private(set) var passed = 0
    private(set) var failed = 0

    /// Notes one result; `problem` nil is a success.
    func note(_ name: String, _ problem: String?, context: [String] = []) {
        if let problem {
            failed += 1
            print("FAILED  \(name): \(problem)")
            for line in context { print("        | \(line)") }
        } else {
            passed += 1
            print("ok      \(name)")
        }
    }

    /// Something worth knowing that is neither.
    func remark(_ text: String) { print("        \(text)") }

    /// Prints the closing line and ends the suite.
    func close() -> Never {
        print("\(passed) passed, \(failed) failed")
        leave(with: failed == 0 ? 0 : 1)
    }
}
