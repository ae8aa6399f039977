import Glibc
import Host

/// Whether every entry of the policies is one that a process has made use of: `--calls` names a file with what was seen, a line for each kind and
/// call (Tests/Checks/policy-calls), `--policies` the directory with the policies.
func policyCases(_ options: Options) -> [TestCase] {
    ["vmm", "block", "net", "rng", "console", "common"].map { kind in
        TestCase(name: "policy \(kind): every entry is used") { report in
            report.note("policy \(kind): every entry is used", problem(kind, options))
        }
    }
}

/// A system call that was made, with the argument that policies compare.
private struct Call: Hashable {
    let name: String
    let value: UInt64?
}

private func problem(_ kind: String, _ options: Options) -> String? {
    guard let policy = try? readWholeFile("\(options.policies)/\(kind).policy", limit: 1 << 20),
        let seen = try? readWholeFile(options.calls, limit: 16 << 20)
    else { return "expected a policy in '\(options.policies)' and a list of calls in '\(options.calls)'" }
    var calls: Set<Call> = []
    for line in String(decoding: seen, as: UTF8.self).split(separator: "\n") {
        let words = line.split(separator: " ").map(String.init)
        // What all kinds have in common any of them may use.
        guard words.count >= 2, kind == "common" || words[0] == kind else { continue }
        calls.insert(Call(name: words[1], value: words.count > 2 ? number(words[2]) : nil))
    }
    if calls.isEmpty { return "no call of such a process was seen" }
    let unused = String(decoding: policy, as: UTF8.self).split(separator: "\n").filter { isUnused($0, calls) }
    return unused.isEmpty ? nil : "never used: \(unused.map { $0.split(separator: "#")[0] }.joined(separator: "; "))"
}

/// Whether a line of a policy allows something that nobody has done. Those that say when they are needed (`rare: …`) are believed.
private func isUnused(_ line: Substring, _ calls: Set<Call>) -> Bool {
    let parts = line.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
    let words = parts[0].split(separator: " ")
    guard let name = words.first, parts.count < 2 || parts[1].firstRange(of: "rare:") == nil else { return false }
    guard let condition = words.dropFirst().first(where: { $0.hasPrefix("arg") }) else { return !calls.contains { $0.name == name } }
    let sides = condition.split(separator: "=")
    let mask = sides[0].split(separator: "&").dropFirst().first.flatMap { number(String($0)) } ?? .max
    guard sides.count == 2, let value = number(String(sides[1])) else { return true }
    return !calls.contains { $0.name == name && $0.value.map { $0 & mask == value } ?? false }
}

private func number(_ text: String) -> UInt64? {
    text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
}
