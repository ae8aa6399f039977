import Foundation
import Host
import Testing

@testable import Jail

@Suite("System call filters")
struct SystemCallFilterTests {
    private static let kinds = ["block", "net", "rng", "console", "vmm"]
    /// Where the programs stand in the sources.
    private static let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../Sources/Jail/Policies/PolicyPrograms.swift")

    @Test("A built-in program decides every call as what libseccomp makes of its policy", arguments: kinds)
    func programs(_ kind: String) throws {
        let policy = try #require(try Policy.builtIn(kind))
        let fresh = try SystemCallFilter(policy)
        let stored = try #require(SystemCallFilter.builtIn(kind))
        var allowed = 0
        for call in SampleCall.all(of: policy) {
            let verdict = try #require(SampleCall.verdict(fresh.instructions, call), "\(call)")
            try #require(
                SampleCall.verdict(stored.instructions, call) == verdict,
                "\(call): run this test once with SWVMM_WRITE_POLICIES=1 in the environment")
            if verdict == 0x7fff_0000 { allowed += 1 }
        }
        #expect(allowed > policy.rules.count)
    }

    @Test("An unknown kind has no program") func unknown() {
        #expect(SystemCallFilter.builtIn("common") == nil)
        #expect(SystemCallFilter.builtIn("unknown") == nil)
    }

    @Test(
        "The programs are written where the environment asks for it",
        .enabled(if: ProcessInfo.processInfo.environment["SWVMM_WRITE_POLICIES"] != nil))
    func write() throws {
        var text = """
            // What libseccomp makes of Configs/seccomp, so that no process has to do it at its start. A test compares what both allow.
            // SWVMM_WRITE_POLICIES=1 with that test writes this file anew.

            extension SystemCallFilter {
                /// The program for a kind of process; nil for an unknown kind.
                static func program(_ kind: String) -> [UInt64]? {
                    switch kind {

            """
        for kind in Self.kinds { text += "        case \"\(kind)\": \(kind)\n" }
        text += "        default: nil\n        }\n    }\n"
        for kind in Self.kinds {
            let words = try SystemCallFilter(try #require(try Policy.builtIn(kind))).instructions.map { word in
                let digits = String(word, radix: 16)
                return "0x\(String(repeating: "0", count: 16 - digits.count))\(digits),"
            }
            text += "\n    private static let \(kind): [UInt64] = [\n"
            for start in stride(from: 0, to: words.count, by: 6) {
                text += "        \(words[start..<min(start + 6, words.count)].joined(separator: " "))\n"
            }
            text += "    ]\n"
        }
        try (text + "}\n").write(to: Self.file, atomically: true, encoding: .utf8)
    }
}

/// A system call as a filter sees it.
struct SampleCall: Equatable {
    var architecture: UInt32 = 0xc000_003e
    var number: UInt32
    var arguments: [UInt64] = Array(repeating: 0, count: 6)

    /// Calls near every edge of a policy: all numbers, also those of other architectures, and each rule's arguments as it wants them, and almost.
    static func all(of policy: Policy) -> [SampleCall] {
        var calls: [SampleCall] = []
        for number in UInt32(0)..<1024 {
            calls.append(SampleCall(number: number))
            calls.append(SampleCall(number: number, arguments: Array(repeating: .max, count: 6)))
            calls.append(SampleCall(number: number | 0x4000_0000))
            for architecture in [0x4000_0003, 0xc000_00b7] as [UInt32] {
                calls.append(SampleCall(architecture: architecture, number: number))
            }
        }
        for rule in policy.rules {
            var call = SampleCall(number: UInt32(rule.number))
            for comparison in rule.comparisons { call.arguments[Int(comparison.index)] = comparison.value }
            calls.append(call)
            for comparison in rule.comparisons {
                for bit in 0..<64 {
                    var other = call
                    other.arguments[Int(comparison.index)] ^= 1 << UInt64(bit)
                    calls.append(other)
                }
                for near in [comparison.value &+ 1, comparison.value &- 1, comparison.value << 32, ~comparison.value] {
                    var other = call
                    other.arguments[Int(comparison.index)] = near
                    calls.append(other)
                }
            }
        }
        return calls
    }

    /// What a program (struct sock_filter in words) says of a call: the machine of linux/filter.h, as far as libseccomp uses it; nil for a
    /// program that is none.
    static func verdict(_ program: [UInt64], _ call: SampleCall) -> UInt32? {
        // struct seccomp_data, as words: number, architecture, instruction pointer, six arguments.
        var data: [UInt32] = [call.number, call.architecture, 0, 0]
        for argument in call.arguments { data += [UInt32(truncatingIfNeeded: argument), UInt32(truncatingIfNeeded: argument >> 32)] }
        var accumulator: UInt32 = 0
        var next = 0
        while program.indices.contains(next) {
            let word = program[next]
            let (code, value) = (UInt16(truncatingIfNeeded: word), UInt32(truncatingIfNeeded: word >> 32))
            let (whenTrue, whenFalse) = (Int(word >> 16 & 0xff), Int(word >> 24 & 0xff))
            next += 1
            switch code {
            case 0x20:
                guard value % 4 == 0, data.indices.contains(Int(value / 4)) else { return nil }
                accumulator = data[Int(value / 4)]
            case 0x54: accumulator &= value
            case 0x05: next += Int(value)
            case 0x15: next += accumulator == value ? whenTrue : whenFalse
            case 0x25: next += accumulator > value ? whenTrue : whenFalse
            case 0x35: next += accumulator >= value ? whenTrue : whenFalse
            case 0x45: next += accumulator & value != 0 ? whenTrue : whenFalse
            case 0x06: return value
            default: return nil
            }
        }
        return nil
    }
}
