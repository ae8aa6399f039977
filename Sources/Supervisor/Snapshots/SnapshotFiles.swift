import Host

/// The names of a snapshot's files, and rules that hold for all of them.
enum SnapshotFiles {
    static let manifest = "manifest.json"
    static let configuration = "config.json"
    static let state = "state.json"
    static let memory = "memory"

    /// In the order in which they are written: the manifest speaks of the others.
    static let all = [memory, state, configuration, manifest]

    /// The largest document that is read, in bytes. The state of 255 CPUs and the extents of scattered RAM take a few MiB.
    static let maximumDocument = 256 << 20
    /// Snapshots of changes that may lie on each other.
    static let maximumChain = 256

    /// The directory that a path lies in.
    static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
        return String(path[..<slash])
    }

    /// The last component of a path.
    static func name(of path: String) -> String { path.split(separator: "/").last.map { String($0) } ?? path }

    /// A path as seen from a directory if it lies in it, so that both can move together; else as it is. Both are absolute.
    static func relative(_ path: String, to directory: String) -> String {
        let prefix = directory == "/" ? "/" : "\(directory)/"
        // By bytes: names may have characters of several.
        return path.utf8.starts(with: prefix.utf8) ? String(decoding: path.utf8.dropFirst(prefix.utf8.count), as: UTF8.self) : path
    }
}
