import Foundation
import Testing

@testable import Jail

@Suite("Policies")
struct PolicyTests {
    private static let devices = ["block", "net", "rng", "console"]
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../Configs/seccomp")

    @Test("Every kind of device has a policy, which includes what all have in common", arguments: devices)
    func kinds(_ kind: String) throws {
        let policy = try #require(try Policy.builtIn(kind))
        #expect(policy.rules.contains { $0.name == "futex" })
        for name in ["openat", "open", "socket", "connect", "execve", "execveat", "fork", "vfork", "ptrace", "mount", "io_uring_setup"] {
            #expect(!policy.rules.contains { $0.name == name }, "\(name)")
        }
        #expect(try Policy.builtIn("common") == nil)
        #expect(try Policy.builtIn("unknown") == nil)
    }

    @Test("The texts in the binary are those in Configs")
    func texts() throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path).filter { $0.hasSuffix(".policy") }
        #expect(Set(files) == Set(Policy.texts.keys.map { "\($0).policy" }))
        for (name, text) in Policy.texts {
            let file = try String(contentsOf: Self.folder.appendingPathComponent("\(name).policy"), encoding: .utf8)
            #expect(file == text, "copy Configs/seccomp/\(name).policy to Sources/Jail/Policies/PolicyTexts.swift")
        }
    }

    @Test("Comments, comparisons, masks and errors are read")
    func reads() throws {
        let policy = try Policy("# nothing\n\nread # always\nioctl arg1=0x10 arg2&0xff=3\nclone3 errno=38\n", name: "p")
        #expect(policy.rules.map(\.name) == ["read", "ioctl", "clone3"])
        #expect(
            policy.rules[1].comparisons == [
                Policy.Comparison(index: 1, mask: .max, value: 16), Policy.Comparison(index: 2, mask: 255, value: 3),
            ])
        #expect(policy.rules.map(\.error) == [nil, nil, 38])
    }

    @Test(
        "What cannot be read is refused with its line",
        arguments: [
            ("read\nopenn", "p, line 2: there is no system call \"openn\"."),
            ("read arg6=1", "p, line 1: expected argN=VALUE, argN&MASK=VALUE or errno=NUMBER, found \"arg6=1\"."),
            ("read arg1", "p, line 1: expected argN=VALUE, argN&MASK=VALUE or errno=NUMBER, found \"arg1\"."),
            ("read arg1=x", "p, line 1: expected argN=VALUE, argN&MASK=VALUE or errno=NUMBER, found \"arg1=x\"."),
            ("read arg1=1 arg1=2", "p, line 1: expected argN=VALUE, argN&MASK=VALUE or errno=NUMBER, found \"arg1=2\"."),
            ("read errno=70000", "p, line 1: expected argN=VALUE, argN&MASK=VALUE or errno=NUMBER, found \"errno=70000\"."),
        ])
    func refuses(_ text: String, _ sentence: String) {
        #expect(throws: JailError(sentence)) { try Policy(text, name: "p") }
    }
}
