import GuestMemory
import Schema
import Snapshot
import VirtualMachine

// The brief as it travels to a machine's process.

extension MachineBrief {
    var json: JSONValue {
        let origin: JSONValue =
            switch self.origin {
            case .kernel(let hasInitrd, let entropy): ["hasInitrd": .bool(hasInitrd), "entropy": .bytes(entropy)]
            case .snapshot(let snapshot): snapshot.json
            }
        return [
            "document": document, "file": .string(file), "origin": origin, "isRestored": .bool(isRestored),
            "startsAsleep": .bool(startsAsleep), "generation": .bytes(generation),
            "deviceDescriptors": .array(deviceDescriptors.map { .integer(Int64($0)) }),
        ]
    }

    private var isRestored: Bool { if case .snapshot = origin { true } else { false } }

    init(_ value: SavedValue) throws(StateError) {
        self = try value.read { (fields) throws(StateError) in
            let document = try fields["document"].value()
            let configuration: VMConfiguration
            do { configuration = try ConfigDocument.decode(document, resolvePath: { $0 }, VMConfiguration.init).value } catch {
                throw fields.error("document", expected: "a configuration (\(error))")
            }
            let origin = fields["origin"]
            return MachineBrief(
                configuration: configuration, document: document, file: try fields.string("file"),
                origin: try fields.bool("isRestored") ? .snapshot(try SnapshotBrief(origin)) : try Self.kernel(origin),
                startsAsleep: try fields.bool("startsAsleep"), generation: try fields.bytes("generation", count: 16...16),
                deviceDescriptors: try fields.array("deviceDescriptors", count: 0...Int.max) { (value) throws(StateError) in
                    try value.integer(Int.self, in: 0...Int(Int16.max))
                })
        }
    }

    private static func kernel(_ value: SavedValue) throws(StateError) -> Origin {
        try value.read { (fields) throws(StateError) in
            .kernel(hasInitrd: try fields.bool("hasInitrd"), entropy: try fields.bytes("entropy", count: 0...64))
        }
    }
}

extension SnapshotBrief {
    fileprivate var json: JSONValue {
        [
            "path": .string(path), "identity": .string(identity), "layers": .array(layers.map { MemoryExtent.json($0) }),
            "state": state.map { ["size": .hex($0.size), "sha256": $0.sha256.map { .string($0) } ?? .null] } ?? .null,
            "isPopulated": .bool(isPopulated), "clockPolicy": .string(clockPolicy.rawValue),
        ]
    }

    fileprivate init(_ value: SavedValue) throws(StateError) {
        self = try value.read { (fields) throws(StateError) in
            SnapshotBrief(
                path: try fields.string("path"), identity: try fields.string("identity"),
                layers: try fields.array("layers", count: 0...SnapshotFiles.maximumChain) { (value) throws(StateError) in
                    try MemoryExtent.list(value)
                },
                state: try fields.optional("state") { (value) throws(StateError) in
                    try value.read { (fields) throws(StateError) in
                        Manifest.File(
                            size: try fields.hex("size"),
                            sha256: try fields.optional("sha256") { (value) throws(StateError) in try value.string() })
                    }
                },
                isPopulated: try fields.bool("isPopulated"), clockPolicy: try fields.choice("clockPolicy"))
        }
    }
}

extension MemoryExtent {
    /// Extents as pairs of numbers, one after the other: there may be very many.
    static func json(_ extents: [MemoryExtent]) -> JSONValue {
        .array(extents.flatMap { [.integer(Int64($0.firstPage)), .integer(Int64($0.pageCount))] })
    }

    /// Whether they fit each other and RAM is for whoever uses them to say.
    static func list(_ value: SavedValue) throws(StateError) -> [MemoryExtent] {
        let numbers = try value.array(count: 0...Int.max) { (value) throws(StateError) in try value.integer(Int.self, in: 0...Int.max) }
        guard numbers.count % 2 == 0 else { throw value.error(expected: "pairs of numbers") }
        return stride(from: 0, to: numbers.count, by: 2).map { MemoryExtent(firstPage: numbers[$0], pageCount: numbers[$0 + 1]) }
    }
}
