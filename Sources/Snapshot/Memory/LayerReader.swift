import GuestMemory
import Host
import Virtqueue

/// Reads what a chain of layers has, part by part in ascending order.
///
/// Through reads and not through a mapping: a file that has been cut short, or whose disk fails, is an error then, where an access to a
/// mapping would be the end of the process and of the guest in it.
struct LayerReader: ~Copyable {
    private let layers: [MemoryLayer]
    /// For each layer the first extent that may reach into the next part.
    private var next: [Int]
    private let buffer: ByteBuffer

    /// A reader of parts of up to `capacity` bytes.
    init(_ layers: [MemoryLayer], capacity: Int) {
        self.layers = layers
        next = layers.map { _ in 0 }
        buffer = ByteBuffer(count: capacity)
    }

    /// The bytes of a part, which is not below any before it; the same memory each time.
    ///
    /// - Throws: EIO when a file ends before its extents do; what the kernel answers.
    mutating func read(_ part: MemoryExtent) throws(SystemError) -> HostRange {
        let bytes = buffer.range(count: part.byteCount)
        bytes.fill(0)
        for (index, layer) in layers.enumerated() {
            while next[index] < layer.extents.count, layer.extents[next[index]].endPage <= part.firstPage { next[index] += 1 }
            var position = next[index]
            while position < layer.extents.count, layer.extents[position].firstPage < part.endPage {
                let first = max(layer.extents[position].firstPage, part.firstPage)
                let extent = MemoryExtent(firstPage: first, pageCount: min(layer.extents[position].endPage, part.endPage) - first)
                let place = bytes.slice(from: (first - part.firstPage) * MemoryExtent.pageSize, count: extent.byteCount)
                guard try layer.file.readAll(into: place, at: extent.offset) == place.count else {
                    throw SystemError("memory image: shorter than its extents", .inputOutput)
                }
                position += 1
            }
        }
        return bytes
    }
}
