import Host
public import Schema

/// Reads `vm.json` from a file.
public struct ConfigFile: Sendable {
    /// The typed configuration.
    public let configuration: VMConfiguration
    /// The document with every default filled in and every path absolute.
    public let resolved: JSONValue
    /// The file's path, for messages.
    public let path: String

    /// The largest file that is read, in bytes: far more than any configuration needs.
    static let maximumSize = 1 << 20

    /// Reads and decodes a file; "-" is standard input. Every refusal names the file and the JSON path. `name` takes the place of the name
    /// that the file gives the VM.
    public init(path: String, name: String? = nil) throws(VMError) {
        let bytes: [UInt8]
        do {
            bytes = try readWholeFile(path, limit: Self.maximumSize)
        } catch {
            throw VMError(.configuration, "\(path): cannot be read (\(error.errno)); expected a configuration file.")
        }
        try self.init(bytes: bytes, path: path, directory: absoluteDirectory(of: path), name: name)
    }

    /// Decodes a text; relative paths in it resolve against `directory`.
    init(bytes: [UInt8], path: String, directory: String, name: String? = nil) throws(VMError) {
        var document: JSONValue
        do { document = try JSONText.decode(bytes) } catch { throw VMError(.configuration, "\(path): \(error)") }
        if let name, case .object(var members) = document {
            members["name"] = .string(name)
            document = .object(members)
        }
        try self.init(document: document, path: path, directory: directory)
    }

    /// Decodes a document; relative paths in it resolve against `directory`.
    init(document: JSONValue, path: String, directory: String = "/") throws(VMError) {
        self.path = path
        do {
            (configuration, resolved) = try ConfigDocument.decode(
                document, resolvePath: { $0.hasPrefix("/") ? $0 : normalizedPath("\(directory)/\($0)") }, VMConfiguration.init)
        } catch {
            throw VMError(.configuration, "\(path): \(error)")
        }
    }

    /// The JSON Schema of the configuration.
    public static func schema() -> JSONValue {
        do {
            return try ConfigDocument.schema(title: "swvmm virtual machine", VMConfiguration.init)
        } catch {
            // Describing reads no document, so nothing in it can be wrong; the tests compare the result with the file in Configs.
            return .null
        }
    }
}

/// Paths as the command line takes them.
public enum AbsolutePath {
    /// The path from the root, against this process's current directory, without `.` and `..`.
    public static func of(_ path: String) -> String { normalizedPath(path.hasPrefix("/") ? path : "\(currentDirectory())/\(path)") }
}

/// The absolute directory that holds `path`.
private func absoluteDirectory(of path: String) -> String {
    let absolute = path.hasPrefix("/") ? path : "\(currentDirectory())/\(path)"
    guard path != "-", let slash = absolute.lastIndex(of: "/") else { return currentDirectory() }
    return slash == absolute.startIndex ? "/" : String(absolute[..<slash])
}

/// The path without `.` and `..` components (as text: links are not looked at, as in a shell's `cd -L`).
func normalizedPath(_ path: String) -> String {
    guard !isNormal(path) else { return path }
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
        if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
}

/// Whether an absolute path has no part that `normalizedPath` would take away; most have none.
private func isNormal(_ path: String) -> Bool {
    var length = 0
    var onlyDots = true
    for (index, byte) in path.utf8.enumerated() {
        guard byte == UInt8(ascii: "/") else {
            length += 1
            onlyDots = onlyDots && byte == UInt8(ascii: ".")
            continue
        }
        // What comes before the first slash is nothing.
        if index > 0, onlyDots, length <= 2 { return false }
        (length, onlyDots) = (0, true)
    }
    return path.utf8.first == UInt8(ascii: "/") && (!onlyDots || length > 2)
}
