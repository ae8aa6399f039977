import Host
public import Virtqueue

/// Memory of this process that a device in another one, or in the kernel, can be shown: a mapped memory file, zeroed, that nobody can shrink.
///
/// Buffers of requests are ranges in it. Whoever keeps a range keeps the memory, too.
public final class SharedMemory: Sendable {
    private let mapping: MemoryMapping
    let file: OwnedDescriptor

    /// The granularity of its size, in bytes.
    public static let pageSize = 4096

    /// Memory of at least `byteCount` bytes (1 to 2⁴⁶), rounded up to pages.
    public init(byteCount: Int) throws(DriverError) {
        guard byteCount > 0, byteCount <= 1 << 46 else { throw .noData }
        let count = (byteCount + Self.pageSize - 1) & ~(Self.pageSize - 1)
        let file = try hosted("make memory to share") { () throws(SystemError) in
            let file = try makeMemoryFile(name: "swvmm driver", size: UInt64(count))
            try file.seal()
            return file
        }
        mapping = try hosted("map memory to share") { () throws(SystemError) in try MemoryMapping(file, count: count) }
        self.file = file
    }

    /// All of it. Its address is a multiple of the page size.
    public var range: HostRange { mapping.range }
    /// Its size in bytes.
    public var count: Int { mapping.range.count }

    /// `count` bytes from `offset` on; nil unless all of them lie inside.
    public func slice(from offset: Int, count: Int) -> HostRange? {
        guard offset >= 0, count >= 0, offset <= self.count, count <= self.count - offset else { return nil }
        return range.slice(from: offset, count: count)
    }
}
