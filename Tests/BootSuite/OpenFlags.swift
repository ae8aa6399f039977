import Glibc

/// Flags of open(2).
enum OpenFlags {
    /// For writing a file anew.
    static let replace = O_WRONLY | O_CREAT | O_TRUNC
    static let readWrite = O_RDWR
}
