import ArgumentParser
import Schema
import Snapshot
import Supervisor

/// `swvmm snapshot inspect`.
struct SnapshotInspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "inspect", abstract: "Show what is in a snapshot.")

    @Argument(help: ArgumentHelp("The snapshot's directory.", valueName: "dir"))
    var directory: String

    @Option(help: "Where the snapshot is that this one lies on, when it has moved.")
    var base: String?

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let document = try SnapshotTools.inspect(directory, base: base)
        print(json ? JSONText.encode(document) : Self.text(document), terminator: "")
    }

    /// One line for each value.
    private static func text(_ document: JSONValue) -> String {
        var lines: [String] = []
        func walk(_ value: JSONValue, _ path: String) {
            switch value {
            case .object(let members):
                for (key, member) in members.sorted(by: { $0.key < $1.key }) { walk(member, path.isEmpty ? key : "\(path).\(key)") }
            case .string(let text): lines.append("\(path): \(text)")
            case .null: lines.append("\(path): none")
            default: lines.append("\(path): \(JSONText.encode(value, compact: true).filter { $0 != "\n" })")
            }
        }
        walk(document, "")
        return lines.map { $0 + "\n" }.joined()
    }
}

/// `swvmm snapshot diff`.
struct SnapshotDiffCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Show what changed from one snapshot to another.",
        discussion: "Ends with 0 when nothing differs, and with 1 when something does.")

    @Argument(help: ArgumentHelp("The earlier snapshot's directory.", valueName: "a"))
    var first: String

    @Argument(help: ArgumentHelp("The later snapshot's directory.", valueName: "b"))
    var second: String

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let comparison = try SnapshotTools.compare(first, second)
        if json {
            let places = comparison.differences.map { difference -> JSONValue in
                ["path": .string(difference.path), "old": difference.old ?? .null, "new": difference.new ?? .null]
            }
            print(
                JSONText.encode(["places": .array(places), "pages": comparison.pages.map { .integer(Int64($0)) } ?? .null]),
                terminator: "")
        } else {
            for difference in comparison.differences {
                print("\(difference.path): \(Self.spoken(difference.old)) -> \(Self.spoken(difference.new))")
            }
            switch comparison.pages {
            case .some(0): break
            case .some(let count): print("memory: \(count) pages differ")
            case nil: print("memory: of another size")
            }
        }
        if !comparison.differences.isEmpty || comparison.pages != 0 { throw ArgumentParser.ExitCode(1) }
    }

    private static func spoken(_ value: JSONValue?) -> String {
        guard let value else { return "nothing" }
        let text = JSONText.encode(value, compact: true).filter { $0 != "\n" }
        return text.utf8.count <= 80 ? text : "\(text.prefix(77))..."
    }
}

/// `swvmm snapshot verify`.
struct SnapshotVerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Check every digest and every field of a snapshot and of those that it lies on.")

    @Argument(help: ArgumentHelp("The snapshot's directory.", valueName: "dir"))
    var directory: String

    @Option(help: "Where the snapshot is that this one lies on, when it has moved.")
    var base: String?

    func run() throws { print(try SnapshotTools.verify(directory, base: base)) }
}

/// `swvmm snapshot flatten`.
struct SnapshotFlattenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "flatten", abstract: "Write a snapshot, with all that it lies on, as one that lies on none.")

    @Argument(help: ArgumentHelp("The snapshot's directory.", valueName: "dir"))
    var directory: String

    @Argument(help: ArgumentHelp("The new snapshot's directory.", valueName: "new"))
    var target: String

    @Option(help: "Where the snapshot is that this one lies on, when it has moved.")
    var base: String?

    func run() throws {
        let path = try SnapshotTools.flatten(directory, to: target, base: base)
        print("\(path): written.")
    }
}
