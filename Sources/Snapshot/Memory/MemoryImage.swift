public import GuestMemory
public import Host
public import Schema
import Virtqueue

/// What was written to a memory file: guest RAM, or what changed of it. The file bears each page at its offset in RAM.
///
/// The extents say which pages the file has; its holes do not, because a copy of a file may have others. A page that no extent of a full
/// image covers is zero.
public struct MemoryImage: Sendable, Equatable {
    /// The pages in the file, in ascending order.
    public let extents: [MemoryExtent]
    /// SHA-256 over the bytes of the extents in their order, 32 bytes, if it was asked for.
    public let digest: [UInt8]?

    /// An image from its parts.
    public init(extents: [MemoryExtent], digest: [UInt8]? = nil) {
        self.extents = extents
        self.digest = digest
    }

    /// The bytes in the file that count.
    public var byteCount: UInt64 { extents.reduce(0) { $0 + UInt64($1.byteCount) } }

    /// Computes the digest of a file of these extents: 1 MiB at a time, in order.
    ///
    /// - Throws: EIO when the file ends before its extents do; what the kernel answers.
    public static func digest(of file: borrowing OwnedDescriptor, _ extents: [MemoryExtent]) throws(SystemError) -> [UInt8] {
        var hash = SHA256()
        let buffer = ByteBuffer(count: 1 << 20)
        for extent in extents {
            var done = 0
            while done < extent.byteCount {
                let part = buffer.range(count: extent.byteCount - done)
                guard try file.readAll(into: part, at: extent.offset + UInt64(done)) == part.count else {
                    throw SystemError("memory image: shorter than its extents", .inputOutput)
                }
                hash.update(part)
                done += part.count
            }
        }
        return hash.finish()
    }
}

/// The JSON form of extents: `[[first page, pages], …]`.
extension MemoryExtent {
    /// The array of a document.
    public static func json(_ extents: [MemoryExtent]) -> JSONValue {
        .array(extents.map { [.integer(Int64($0.firstPage)), .integer(Int64($0.pageCount))] })
    }

    /// Reads the array: pairs of integers that ascend, do not overlap, are not empty, and end within RAM of `pageCount` pages.
    public static func read(_ saved: SavedValue, pageCount: Int) throws(StateError) -> [MemoryExtent] {
        var extents: [MemoryExtent] = []
        var end: Int64 = 0
        let limit = Int64(max(pageCount, 0))
        for element in try saved.elements(count: 0...Int(limit)) {
            guard case .array(let pair) = try element.value(), pair.count == 2, case .integer(let first) = pair[0],
                case .integer(let count) = pair[1], first >= end, first < limit, count > 0, count <= limit - first
            else {
                throw element.error(expected: "[first page, pages] with at least one page, from page \(end) on and before page \(limit)")
            }
            extents.append(MemoryExtent(firstPage: Int(first), pageCount: Int(count)))
            end = first + count
        }
        return extents
    }
}
