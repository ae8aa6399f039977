import CLinux
import Glibc

/// Who owns a file or directory, and what it is.
public struct PathFacts: Sendable, Equatable {
    /// The kinds that matter here.
    public enum Kind: Sendable, Equatable {
        /// A regular file.
        case regular
        /// A directory.
        case directory
        /// A symbolic link.
        case link
        /// A socket.
        case socket
        /// Anything else.
        case other
    }
    /// What it is.
    public let kind: Kind
    /// The user id of its owner.
    public let owner: UInt32
    /// Its permission bits, 0…0o7777.
    public let permissions: UInt32

    init(_ status: stat) {
        kind =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .directory
            case S_IFLNK: .link
            case S_IFSOCK: .socket
            default: .other
            }
        owner = status.st_uid
        permissions = status.st_mode & 0o7777
    }
}

/// Directories that hold what a process keeps for itself while it runs.
public enum PrivateDirectories {
    /// The user that this process acts as.
    public static var user: UInt32 { geteuid() }

    /// The process's id.
    public static var process: Int32 { getpid() }

    /// What stands at a path; a link is not followed.
    public static func facts(of path: String) throws(SystemError) -> PathFacts {
        var status = stat()
        _ = try retryingOnInterrupt("lstat") { unsafe lstat(path, &status) }
        return PathFacts(status)
    }

    /// Makes a directory that only its owner can use; EEXIST when anything stands there.
    public static func make(_ path: String) throws(SystemError) {
        _ = try retryingOnInterrupt("mkdir") { unsafe mkdir(path, 0o700) }
    }

    /// Opens a directory; ELOOP or ENOTDIR when the path is a link or a file.
    public static func open(_ path: String) throws(SystemError) -> OwnedDescriptor {
        try OwnedDescriptor.open(path, flags: O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    }

    /// Removes an empty directory; one that is not there, or not empty, stays as it is.
    public static func remove(_ path: String) { _ = unsafe rmdir(path) }

    /// The names in a directory, sorted, without `.` and `..`.
    public static func names(in path: String) throws(SystemError) -> [String] {
        guard let stream = unsafe opendir(path) else { throw SystemError("opendir", .current) }
        defer { unsafe closedir(stream) }
        var names: [String] = []
        while let entry = unsafe readdir(stream) {
            // d_name lies inside the entry, which readdir keeps until its next call.
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { field in
                unsafe field.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}

extension OwnedDescriptor {
    /// What the open file is, and who owns it.
    public borrowing func facts() throws(SystemError) -> PathFacts {
        let raw = rawValue
        var status = stat()
        _ = try retryingOnInterrupt("fstat") { unsafe fstat(raw, &status) }
        return PathFacts(status)
    }

    /// Sets the permission bits, 0…0o7777.
    public borrowing func setPermissions(_ mode: UInt32) throws(SystemError) {
        let raw = rawValue
        _ = try retryingOnInterrupt("fchmod") { fchmod(raw, mode) }
    }

    /// Whether a path still leads to this open file: false after the file has been removed or replaced.
    public borrowing func isFile(at path: String) -> Bool {
        var mine = stat()
        var theirs = stat()
        guard unsafe fstat(rawValue, &mine) == 0, unsafe lstat(path, &theirs) == 0 else { return false }
        return mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino
    }

    /// Opens or makes a file for its owner alone, to be read and written; a link is refused (ELOOP).
    public static func openPrivateFile(_ path: String) throws(SystemError) -> OwnedDescriptor {
        try open(path, flags: O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
    }

    /// Opens a file to be read; a link is refused (ELOOP).
    public static func openToRead(_ path: String) throws(SystemError) -> OwnedDescriptor {
        try open(path, flags: O_RDONLY | O_NOFOLLOW)
    }
}
