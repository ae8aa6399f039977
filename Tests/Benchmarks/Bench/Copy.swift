import Glibc
import Host
import Virtqueue

/// Copies a sparse file into a memory file as `cp` would: what is there, read into a buffer and written, a MiB at a time.
func copyToMemory(_ path: String) throws(BenchError) {
    do throws(SystemError) {
        let source = try OwnedDescriptor.open(path, flags: O_RDONLY)
        let size = try source.size()
        let target = try makeMemoryFile(name: "copy", size: size)
        var runs: [Range<UInt64>] = []
        try source.dataRuns(size: size) { runs.append($0) }
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        for run in runs {
            _ = lseek(target.rawValue, off_t(run.lowerBound), SEEK_SET)
            var position = run.lowerBound
            while position < run.upperBound {
                var span = buffer.mutableSpan
                var bytes = span.untyped
                // At the end it may be zeros of the hole behind.
                let read = min(try source.read(into: &bytes, at: position), Int(run.upperBound - position))
                guard read > 0, try target.write(buffer.span.extracting(..<read).untyped) == read else {
                    throw SystemError("copy", .inputOutput)
                }
                position += UInt64(read)
            }
        }
    } catch {
        throw BenchError("\(path): \(error)")
    }
    print("copied")
}
