/// Which system calls a kind of process may make, and with which arguments: a list in text, one rule a line.
///
///     read                      # always
///     ioctl arg1=0x541b         # if the comparison holds; several lines for one call are alternatives
///     clone arg0&0xff=0x11      # after masking
///     clone3 errno=38           # fails with this error number
///
/// What no rule allows ends the process, with a report.
public struct Policy: Sendable, Equatable {
    /// A comparison of one argument.
    public struct Comparison: Sendable, Equatable {
        /// The argument's index (0…5).
        public let index: UInt32
        /// Bits that count.
        public let mask: UInt64
        /// What they must be.
        public let value: UInt64
    }

    /// One line.
    public struct Rule: Sendable, Equatable {
        /// The name of the system call.
        public let name: String
        /// Its number on this architecture.
        public let number: Int32
        /// All of them must hold.
        public let comparisons: [Comparison]
        /// The error that the call gives; nil: it is allowed.
        public let error: UInt16?
    }

    /// The rules, in the order of the text.
    public private(set) var rules: [Rule]

    /// Reads a policy; `name` is what errors call it.
    /// - Throws: what is wrong, with the line.
    public init(_ text: String, name: String) throws(JailError) {
        rules = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.prefix { $0 != "#" }.split(separator: " ").map(String.init)
            guard let call = words.first else { continue }
            do throws(LineError) {
                rules.append(try Self.rule(call, words.dropFirst()))
            } catch {
                throw JailError("\(name), line \(index + 1): \(error.description).")
            }
        }
    }

    /// Both policies' rules.
    public func union(_ other: Policy) -> Policy {
        var both = self
        both.rules += other.rules
        return both
    }

    private struct LineError: Error {
        let description: String
    }

    private static func rule(_ call: String, _ conditions: ArraySlice<String>) throws(LineError) -> Rule {
        guard let number = SystemCalls.number(of: call) else { throw LineError(description: "there is no system call \"\(call)\"") }
        var comparisons: [Comparison] = []
        var error: UInt16?
        for condition in conditions {
            let sides = condition.split(separator: "=", omittingEmptySubsequences: false)
            guard sides.count == 2, let value = integer(sides[1]) else {
                throw LineError(description: "expected argN=VALUE, argN&MASK=VALUE or errno=NUMBER, found \"\(condition)\"")
            }
            if sides[0] == "errno", let code = UInt16(exactly: value), error == nil {
                error = code
                continue
            }
            let parts = sides[0].split(separator: "&", omittingEmptySubsequences: false)
            guard parts.count <= 2, parts[0].hasPrefix("arg"), let index = UInt32(parts[0].dropFirst(3)), index <= 5,
                let mask = parts.count == 2 ? integer(parts[1]) : UInt64.max, !comparisons.contains(where: { $0.index == index })
            else { throw LineError(description: "expected argN=VALUE, argN&MASK=VALUE or errno=NUMBER, found \"\(condition)\"") }
            comparisons.append(Comparison(index: index, mask: mask, value: value))
        }
        return Rule(name: call, number: number, comparisons: comparisons, error: error)
    }

    private static func integer(_ text: Substring) -> UInt64? {
        text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
    }
}

/// Why a jail cannot be closed: one sentence.
public struct JailError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The sentence.
    public let description: String
    /// Wraps a sentence.
    public init(_ description: String) { self.description = description }
}

extension Policy {
    /// The text of a policy in `Configs/seccomp`, by its name there without the ending; nil for an unknown one.
    public static func builtInText(_ name: String) -> String? { texts[name] }

    /// The policy for a kind of process, with what all have in common; nil for an unknown kind.
    public static func builtIn(_ kind: String) throws(JailError) -> Policy? {
        guard kind != "common", let common = texts["common"], let own = texts[kind] else { return nil }
        return try Policy(common, name: "common.policy").union(try Policy(own, name: "\(kind).policy"))
    }
}
