import Foundation

/// The source tree that these tests were built from.
enum SourceTree {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// The Swift files below a folder of the tree, with their path relative to the root.
    static func swiftFiles(below folder: String) -> [(path: String, text: String)] {
        let base = root.appendingPathComponent(folder)
        guard let names = FileManager.default.enumerator(atPath: base.path) else { return [] }
        var files: [(path: String, text: String)] = []
        for case let name as String in names where name.hasSuffix(".swift") {
            guard let text = try? String(contentsOf: base.appendingPathComponent(name), encoding: .utf8) else { continue }
            files.append((path: "\(folder)/\(name)", text: text))
        }
        return files.sorted { $0.path < $1.path }
    }

    /// A line without its comment and without what stands in string literals.
    static func code(of line: Substring) -> String {
        var result = ""
        var inString = false
        var previous: Character = " "
        for character in line {
            if character == "\"", previous != "\\" { inString.toggle() }
            if !inString, character == "/", previous == "/" { return String(result.dropLast()) }
            if !inString { result.append(character) }
            previous = character
        }
        return result
    }
}
