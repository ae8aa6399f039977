import Foundation
public import Schema

/// Documents of format version 1 that were written once, by the build that had it first. They are never written again: whatever build comes
/// later must read them.
public enum Golden {
    /// `Tests/Golden/v1`.
    public static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Golden/v1").path

    /// The text of a file, by its path below the directory.
    public static func text(_ name: String) throws -> String { try String(contentsOfFile: "\(directory)/\(name)", encoding: .utf8) }

    /// The document in a file.
    public static func document(_ name: String) throws -> JSONValue { try JSONText.decode(Array(try text(name).utf8)) }

    /// Puts the golden snapshot into a new directory, with a memory file full of holes: that is not kept with the sources.
    public static func copySnapshot(to path: String) throws {
        let files = FileManager.default
        try files.createDirectory(atPath: path, withIntermediateDirectories: true)
        for name in ["manifest.json", "config.json", "state.json"] {
            try files.copyItem(atPath: "\(directory)/snapshot/\(name)", toPath: "\(path)/\(name)")
        }
        guard files.createFile(atPath: "\(path)/memory", contents: nil) else { throw CocoaError(.fileWriteUnknown) }
        let memory = try FileHandle(forWritingTo: URL(fileURLWithPath: "\(path)/memory"))
        try memory.truncate(atOffset: snapshotMemory)
        try memory.close()
    }

    /// RAM of the golden snapshot in bytes.
    public static let snapshotMemory: UInt64 = 16 << 20

    /// A text that was damaged: cut short, or with one to three of its bits turned over.
    public static func damaged(_ text: String, _ random: inout SeededRandom) -> [UInt8] {
        var bytes = Array(text.utf8)
        if Bool.random(using: &random) { return Array(bytes.prefix(Int.random(in: 0..<bytes.count, using: &random))) }
        for _ in 0..<Int.random(in: 1...3, using: &random) {
            bytes[Int.random(in: bytes.indices, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        }
        return bytes
    }
}
