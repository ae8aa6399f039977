import CLinux
import Glibc
public import Virtqueue

// Reads and writes that are not done before all is done.

extension OwnedDescriptor {
    /// Reads from `offset` bytes into the file until `range` is full or the file ends; returns how many bytes were read.
    @discardableResult
    public borrowing func readAll(into range: HostRange, at offset: UInt64) throws(SystemError) -> Int {
        var done = 0
        while done < range.count {
            let rest: InlineArray<1, HostRange> = [range.slice(from: done)]
            let count = try read(into: rest.span, at: offset + UInt64(done))
            if count == 0 { break }
            done += count
        }
        return done
    }

    /// Writes all of `range` at `offset` bytes into the file, straight from where it lies.
    ///
    /// - Throws: what the kernel answered for the part that it did not take; ENOSPC if it took nothing without a reason.
    public borrowing func writeAll(_ range: HostRange, at offset: UInt64) throws(SystemError) {
        var done = 0
        while done < range.count {
            let rest: InlineArray<1, HostRange> = [range.slice(from: done)]
            let count = try write(from: rest.span, at: offset + UInt64(done))
            guard count > 0 else { throw SystemError("pwritev", .noSpace) }
            done += count
        }
    }

    /// Finds the parts of a file of `size` bytes that are no holes, as far as its file system tells (SEEK_DATA). Moves the file's position.
    public borrowing func dataRuns(size: UInt64, _ body: (Range<UInt64>) -> Void) throws(SystemError) {
        let raw = rawValue
        guard let end = off_t(exactly: size) else { throw SystemError("lseek", .invalidArgument) }
        var position: off_t = 0
        while position < end {
            let start: off_t
            do throws(SystemError) {
                start = try retryingOnInterrupt("lseek SEEK_DATA") { lseek(raw, position, SWV_SEEK_DATA) }
            } catch {
                // Nothing but a hole is left.
                if error.errno == .noDeviceOrAddress { return }
                throw error
            }
            guard start < end else { return }
            let stop = min(try retryingOnInterrupt("lseek SEEK_HOLE") { lseek(raw, start, SWV_SEEK_HOLE) }, end)
            guard stop > start else { throw SystemError("lseek SEEK_HOLE", .inputOutput) }
            body(UInt64(start)..<UInt64(stop))
            position = stop
        }
    }
}
