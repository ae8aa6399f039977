import Glibc

extension OwnedDescriptor {
    /// Reads up to the size of `buffer` from `offset` bytes into the file, whose own position stays; 0 is the end of the file.
    public borrowing func read(into buffer: inout MutableRawSpan, at offset: UInt64) throws(SystemError) -> Int {
        guard let position = off_t(exactly: offset) else { throw SystemError("pread", .invalidArgument) }
        let raw = rawValue
        let result = unsafe buffer.withUnsafeMutableBytes { bytes in
            Result { () throws(SystemError) in
                try retryingOnInterrupt("pread") { unsafe pread(raw, bytes.baseAddress, bytes.count, position) }
            }
        }
        return try result.get()
    }

    /// The size in bytes of a regular file or block device. Moves the file's own position.
    public borrowing func size() throws(SystemError) -> UInt64 {
        let raw = rawValue
        return UInt64(try retryingOnInterrupt("lseek") { lseek(raw, 0, SEEK_END) })
    }
}
