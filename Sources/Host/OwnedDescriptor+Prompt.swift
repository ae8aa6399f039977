import CLinux
import Glibc
public import Virtqueue

extension OwnedDescriptor {
    /// Whether the file's data lie in memory (tmpfs, memfd), so that no transfer waits for storage but when the host is short of memory.
    public var isInMemory: Bool { swv_file_is_in_memory(rawValue) == 1 }

    /// Reads into several ranges from `offset`, as far as that waits for nothing (RWF_NOWAIT): the count, or a negative error number, EAGAIN
    /// when it would wait, EOPNOTSUPP where the file system cannot tell.
    public borrowing func readPromptly(into ranges: Span<HostRange>, at offset: UInt64) -> Int {
        unsafe prompt(ranges, offset) { unsafe preadv2($0, $1, $2, $3, SWV_RWF_NOWAIT) }
    }

    /// Writes from several ranges at `offset`, as far as that waits for nothing; as `readPromptly`.
    public borrowing func writePromptly(from ranges: Span<HostRange>, at offset: UInt64) -> Int {
        unsafe prompt(ranges, offset) { unsafe pwritev2($0, $1, $2, $3, SWV_RWF_NOWAIT) }
    }

    @inline(__always)
    private borrowing func prompt(
        _ ranges: Span<HostRange>, _ offset: UInt64, _ transfer: (Int32, UnsafePointer<iovec>?, Int32, off_t) -> Int
    ) -> Int {
        guard let position = off_t(exactly: offset) else { return -Int(EINVAL) }
        let raw = rawValue
        // The kernel takes at most IOV_MAX ranges at a time; the caller sees a short transfer, as it may for other reasons.
        let count = Int32(min(ranges.count, 1024))
        return unsafe ranges.withUnsafeBytes { bytes in
            // HostRange has the layout of iovec; a test holds it to that.
            let vectors = unsafe bytes.baseAddress?.assumingMemoryBound(to: iovec.self)
            while true {
                let result = unsafe transfer(raw, vectors, count, position)
                if result >= 0 { return result }
                let failure = errno
                if failure != EINTR { return -Int(failure) }
            }
        }
    }
}
