import Foundation
import Schema
import Testing

@testable import Supervisor

private let configs = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Configs")

private func examples() throws -> [(name: String, bytes: [UInt8])] {
    try FileManager.default.contentsOfDirectory(atPath: configs.path).filter { $0.hasSuffix(".json") && $0 != "vm.schema.json" }.sorted()
        .map {
            ($0, Array(try Data(contentsOf: configs.appendingPathComponent($0))))
        }
}

private func decode(_ value: JSONValue) throws(ConfigError) -> (value: VMConfiguration, resolved: JSONValue) {
    try ConfigDocument.decode(value, resolvePath: { $0.hasPrefix("/") ? $0 : "/base/\($0)" }, VMConfiguration.init)
}

struct ConfigurationTests {
    @Test("every example decodes, satisfies the schema, and resolves to a document that decodes to the same configuration")
    func examplesDecode() throws {
        let schema = ConfigFile.schema()
        let all = try examples()
        #expect(all.count >= 6)
        for (name, bytes) in all {
            let document = try JSONText.decode(bytes)
            #expect(try SchemaValidator.accepts(document, schema), "\(name)")
            let file = try ConfigFile(bytes: bytes, path: name, directory: configs.path)
            #expect(try SchemaValidator.accepts(file.resolved, schema), "\(name) resolved")
            let again = try ConfigFile(bytes: Array(JSONText.encode(file.resolved).utf8), path: name, directory: "/elsewhere")
            #expect(again.configuration == file.configuration && again.resolved == file.resolved, "\(name)")
        }
    }

    @Test("the schema in Configs is what this build generates")
    func committedSchema() throws {
        let text = try String(contentsOf: configs.appendingPathComponent("vm.schema.json"), encoding: .utf8)
        #expect(text == JSONText.encode(ConfigFile.schema()), "regenerate it with: swvmm config schema > Configs/vm.schema.json")
    }

    /// Rules that JSON Schema cannot state: they span fields, or look into the number that a string spells.
    private static let beyondSchema = [
        "ids must differ", "stdio already belongs to", "expected a size from", "only a tap or vhost-user back-end has several queues",
        "that is the back-end's to decide",
    ]

    @Test("schema and decoder agree on every document one step away from an example")
    func agreement() throws {
        let schema = ConfigFile.schema()
        var refused = 0
        var accepted = 0
        for (name, bytes) in try examples() {
            for document in neighbours(of: try JSONText.decode(bytes)) {
                let valid = try SchemaValidator.accepts(document, schema)
                do {
                    _ = try decode(document)
                    accepted += 1
                    #expect(valid, "\(name): the decoder accepts what the schema refuses: \(JSONText.encode(document))")
                } catch {
                    refused += 1
                    let stated = !Self.beyondSchema.contains { error.message.contains($0) }
                    #expect(!valid || !stated, "\(name): the schema accepts what the decoder refuses: \(error)")
                    #expect(error.message.hasSuffix("."), "\(error)")
                }
            }
        }
        #expect(refused > 1000 && accepted > 100)
    }

    @Test(
        "rules that span fields",
        arguments: [
            (
                ["boot": ["kernel": "k"], "devices": [["id": "a", "type": "rng"], ["id": "a", "type": "rng"]]],
                "devices[1].id: \"a\" is already the id of devices[0]; ids must differ."
            ),
            (
                ["boot": ["kernel": "k"], "serial": ["backend": "stdio"], "devices": [["id": "c", "type": "console"]]],
                "serial.backend: stdio already belongs to devices[0].backend."
            ),
            (
                ["boot": ["kernel": "k"], "devices": [["id": "n", "type": "net", "queuePairs": 2]]],
                "devices[0].queuePairs: expected 1: only a tap or vhost-user back-end has several queues."
            ),
            (
                ["boot": ["kernel": "k"], "memory": ["size": 0]],
                "memory.size: expected a size from 16M to 1T such as \"512M\", a multiple of 2M, found 0."
            ),
            (
                ["boot": ["kernel": "k"], "devices": [["id": "d", "type": "block", "backend": ["vhostVdpa": "v"], "readOnly": true]]],
                "devices[0].readOnly: that is the back-end's to decide."
            ),
            (
                ["boot": ["kernel": "k"], "devices": [["id": "n", "type": "net", "backend": ["vhostVdpa": "v"], "mtu": 1500]]],
                "devices[0].mtu: that is the back-end's to decide."
            ),
            (["boot": ["kernel": "k"], "cpus": ["count": 0]], "cpus.count: expected an integer from 1 to 255, found 0."),
            (["boot": [:]], "boot.kernel: is missing: A Linux bzImage, or an ELF file with a PVH note or a 64-bit entry."),
        ] as [(JSONValue, String)])
    func spanningRules(document: JSONValue, sentence: String) {
        let error = #expect(throws: ConfigError.self) { try decode(document) }
        #expect(error?.description == sentence)
    }

    @Test("seeded damage to the text of an example never crashes the decoder")
    func damagedTexts() throws {
        var state: UInt64 = 0x5eed
        for (_, bytes) in try examples() {
            for _ in 0..<400 {
                var damaged = bytes
                for _ in 0...2 {
                    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    let at = Int(state >> 33) % damaged.count
                    switch state >> 60 & 3 {
                    case 0: damaged[at] = UInt8(truncatingIfNeeded: state >> 20)
                    case 1: damaged.remove(at: at)
                    case 2: damaged.removeLast(min(damaged.count - 1, at))
                    default: damaged.insert(UInt8(truncatingIfNeeded: state >> 24), at: at)
                    }
                }
                _ = try? ConfigFile(bytes: damaged, path: "damaged", directory: "/")
            }
        }
    }
}
