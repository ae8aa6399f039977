import Glibc
import Host
import Virtqueue

/// A file of `size` bytes without a name, on the file system of `directory`; gone when the last descriptor is.
func temporaryFile(size: Int, directory: String = "/tmp") throws -> OwnedDescriptor {
    // O_TMPFILE, which Swift does not see: __O_TMPFILE | O_DIRECTORY.
    let file = try OwnedDescriptor.open(directory, flags: O_RDWR | 0o20_000_000 | O_DIRECTORY, mode: 0o600)
    try file.resize(to: UInt64(size))
    return file
}

extension OwnedDescriptor {
    /// Bytes of a file.
    func bytes(at offset: Int, count: Int) throws -> [UInt8] {
        let mapping = try MemoryMapping(anonymous: max(count, 1))
        let ranges: InlineArray<1, HostRange> = [mapping.range.slice(from: 0, count: count)]
        let length = try read(into: ranges.span, at: UInt64(offset))
        var bytes = [UInt8](repeating: 0, count: length)
        var span = bytes.mutableSpan
        mapping.range.copy(to: &span)
        return bytes
    }

    /// Writes bytes into a file.
    func put(_ bytes: [UInt8], at offset: Int) throws {
        let mapping = try MemoryMapping(anonymous: max(bytes.count, 1))
        mapping.range.copy(from: bytes.span)
        let ranges: InlineArray<1, HostRange> = [mapping.range.slice(from: 0, count: bytes.count)]
        _ = try write(from: ranges.span, at: UInt64(offset))
    }

    /// Whether nothing is stored for a part of a file (SEEK_DATA, SEEK_HOLE).
    func isHole(at offset: Int, count: Int) -> Bool {
        // SEEK_DATA, which stands behind _GNU_SOURCE.
        let data = lseek(rawValue, off_t(offset), 3)
        return data < 0 || data >= off_t(offset + count)
    }
}
