import CLinux
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

    /// Copies `count` bytes at `offset` to the same place in another file, without a way through this process's memory; false when there are
    /// fewer. Moves the other file's own position.
    public borrowing func copy(_ count: Int, at offset: UInt64, to target: borrowing OwnedDescriptor) throws(SystemError) -> Bool {
        guard var position = off_t(exactly: offset), count >= 0 else { throw SystemError("sendfile", .invalidArgument) }
        let (end, isTooFar) = position.addingReportingOverflow(off_t(count))
        guard !isTooFar else { throw SystemError("sendfile", .invalidArgument) }
        let (source, sink) = (rawValue, target.rawValue)
        _ = try retryingOnInterrupt("lseek") { lseek(sink, position, SEEK_SET) }
        while position < end {
            // The kernel moves less than 2 GiB at a time.
            let left = Int(end - position)
            let moved = try retryingOnInterrupt("sendfile") { unsafe sendfile(sink, source, &position, left) }
            guard moved > 0 else { return false }
        }
        return true
    }

    /// The size in bytes of a regular file or block device. Moves the file's own position.
    public borrowing func size() throws(SystemError) -> UInt64 {
        let raw = rawValue
        return UInt64(try retryingOnInterrupt("lseek") { lseek(raw, 0, SEEK_END) })
    }
}
