import GuestMemory
import Host
import Schema
import VirtualMachine

/// What a supervisor asks of a machine's process. Each of the three channels takes its own kinds, so that none waits for those of another.
enum MachineRequest: Sendable {
    // On the channel for commands, which take their time.

    /// Takes descriptors, which come with it, for `assemble`.
    case take
    /// Makes all but the machine itself of the descriptors.
    case assemble(MachineBrief)
    /// Starts what has been assembled.
    case start
    case sleep
    case wake
    /// The files for RAM and state come with it, and those of the base.
    case save(base: Base?, digest: Bool)
    case noteSaved(String)

    // On the channel for devices.

    /// The socket of another back-end comes with it, which is the `turn`th of the device.
    case recover(String, turn: Int)
    case handOver(String, turn: Int)
    case giveUp(String)
    case failure(String)
    case noteLeft(String)

    // On the channel for what is answered at once.

    case report
    case generation
    case stop
    // Without an answer.
    case pressPowerButton
    case resizeConsole(WindowSize)

    /// The snapshot that changes are written for; its files come with the request.
    struct Base: Sendable, Equatable {
        let digest: String
        let layers: [[MemoryExtent]]
    }

    private enum Name: String, CaseIterable {
        case take, assemble, start, sleep, wake, save, noteSaved, recover, handOver, giveUp, failure, noteLeft, report, generation, stop,
            pressPowerButton,
            resizeConsole
    }

    var json: JSONValue {
        switch self {
        case .take: Self.json(.take)
        case .assemble(let brief): Self.json(.assemble, brief.json)
        case .start: Self.json(.start)
        case .sleep: Self.json(.sleep)
        case .wake: Self.json(.wake)
        case .save(let base, let digest):
            Self.json(
                .save,
                [
                    "base": base.map { ["digest": .string($0.digest), "layers": .array($0.layers.map { MemoryExtent.json($0) })] } ?? .null,
                    "digest": .bool(digest),
                ])
        case .noteSaved(let identity): Self.json(.noteSaved, .string(identity))
        case .recover(let id, let turn): Self.json(.recover, Self.json(id, turn))
        case .handOver(let id, let turn): Self.json(.handOver, Self.json(id, turn))
        case .giveUp(let id): Self.json(.giveUp, .string(id))
        case .failure(let id): Self.json(.failure, .string(id))
        case .noteLeft(let id): Self.json(.noteLeft, .string(id))
        case .report: Self.json(.report)
        case .generation: Self.json(.generation)
        case .stop: Self.json(.stop)
        case .pressPowerButton: Self.json(.pressPowerButton)
        case .resizeConsole(let size):
            Self.json(.resizeConsole, ["columns": .integer(Int64(size.columns)), "rows": .integer(Int64(size.rows))])
        }
    }

    private static func json(_ name: Name, _ content: JSONValue = .null) -> JSONValue {
        ["request": .string(name.rawValue), "content": content]
    }

    private static func json(_ id: String, _ turn: Int) -> JSONValue { ["id": .string(id), "turn": .integer(Int64(clamping: turn))] }

    init(_ message: JSONValue) throws(StateError) {
        self = try SavedValue(message).read { (fields) throws(StateError) in
            let content = fields["content"]
            let name: Name = try fields.choice("request")
            switch name {
            case .take: return .take
            case .assemble: return .assemble(try MachineBrief(content))
            case .start: return .start
            case .sleep: return .sleep
            case .wake: return .wake
            case .save:
                return try content.read { (fields) throws(StateError) in
                    .save(
                        base: try fields.optional("base") { (value) throws(StateError) in try Base(value) },
                        digest: try fields.bool("digest"))
                }
            case .noteSaved: return .noteSaved(try content.string())
            case .recover:
                return try content.read { (fields) throws(StateError) in
                    .recover(try fields.string("id"), turn: try fields.integer("turn"))
                }
            case .handOver:
                return try content.read { (fields) throws(StateError) in
                    .handOver(try fields.string("id"), turn: try fields.integer("turn"))
                }
            case .giveUp: return .giveUp(try content.string())
            case .failure: return .failure(try content.string())
            case .noteLeft: return .noteLeft(try content.string())
            case .report: return .report
            case .generation: return .generation
            case .stop: return .stop
            case .pressPowerButton: return .pressPowerButton
            case .resizeConsole:
                return try content.read { (fields) throws(StateError) in
                    .resizeConsole(WindowSize(columns: try fields.integer("columns"), rows: try fields.integer("rows")))
                }
            }
        }
    }
}

extension MachineRequest.Base {
    fileprivate init(_ value: SavedValue) throws(StateError) {
        self = try value.read { (fields) throws(StateError) in
            Self(
                digest: try fields.string("digest"),
                layers: try fields.array("layers", count: 0...SnapshotFiles.maximumChain) { (value) throws(StateError) in
                    try MemoryExtent.list(value)
                })
        }
    }
}
