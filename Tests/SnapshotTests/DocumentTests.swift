import Schema
import Testing

@testable import Snapshot

@Suite("Differences of documents") struct JSONDifferenceTests {
    private func between(_ old: JSONValue, _ new: JSONValue) -> [String] {
        JSONDifference.between(old, new, path: "state").map { difference in
            "\(difference.path): \(text(difference.old)) -> \(text(difference.new))"
        }
    }

    private func text(_ value: JSONValue?) -> String {
        value.map { JSONText.encode($0, compact: true).filter { !$0.isNewline } } ?? "nothing"
    }

    @Test("Equal documents differ nowhere")
    func equal() {
        for value: JSONValue in [.null, 1, "a", [1, [2]], ["a": ["b": [true]]]] { #expect(between(value, value) == []) }
    }

    @Test("Places are told apart as deep as possible, in the order of the keys")
    func deep() {
        #expect(
            between(["b": ["x": 1, "y": [1, 2, ["z": 3]]], "a": 1], ["b": ["x": 2, "y": [1, 5, ["z": "3"]]], "a": 1])
                == ["state.b.x: 1 -> 2", "state.b.y[1]: 2 -> 5", "state.b.y[2].z: 3 -> \"3\""])
    }

    @Test("Members that are only in one of them")
    func members() {
        #expect(
            between(["a": 1, "c": .null], ["b": [2]]) == ["state.a: 1 -> nothing", "state.b: nothing -> [2]", "state.c: null -> nothing"])
    }

    @Test("Arrays of different lengths, and values of different types, differ as a whole")
    func whole() {
        #expect(between(["a": [1, 2]], ["a": [1]]) == ["state.a: [1,2] -> [1]"])
        #expect(between(["a": [1]], ["a": ["b": 1]]) == ["state.a: [1] -> {\"b\":1}"])
        let before: JSONValue = ["lapic": ["base64": "AAECAw=="]]
        let after: JSONValue = ["lapic": ["base64": "AAECBA=="]]
        #expect(
            JSONDifference.between(before, after, path: "state")
                == [JSONDifference(path: "state.lapic.base64[0x3]", old: "0x3", new: "0x4")])
        #expect(JSONDifference.between(1, 2) == [JSONDifference(path: "", old: 1, new: 2)])
    }
}

@Suite("Migration") struct MigrationTests {
    private static func step(_ name: String) -> Migration.Step {
        { documents in
            var documents = documents
            guard case .string(let text) = documents.state else { return documents }
            documents.state = .string(text + name)
            return documents
        }
    }

    private func migrated(_ migration: Migration, from version: Int64) throws -> String {
        let documents = Migration.Documents(manifest: 1, configuration: 2, state: .string("v\(version)"))
        guard case .string(let text) = try migration.migrate(documents, from: version).state else { return "" }
        return text
    }

    @Test("Each version goes through the steps that are left, in their order")
    func steps() throws {
        let migration = Migration(steps: [Self.step(" 1-2"), Self.step(" 2-3"), Self.step(" 3-4")])
        #expect(migration.current == 4)
        #expect(try migrated(migration, from: 1) == "v1 1-2 2-3 3-4")
        #expect(try migrated(migration, from: 3) == "v3 3-4")
        #expect(try migrated(migration, from: 4) == "v4")
        // Refused before, and harmless here.
        #expect(try migrated(migration, from: .max) == "v\(Int64.max)")
        #expect(try migrated(migration, from: .min) == "v\(Int64.min) 1-2 2-3 3-4")
    }

    @Test("This build has a step for each version before its own")
    func standard() { #expect(Migration.standard.current == Manifest.currentVersion) }
}
