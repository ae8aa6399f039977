import CAtomics
public import Host
import Virtqueue

/// The bits of a write log, one for each page of guest physical memory from address 0 on, the lowest bit of the first byte first, as in the
/// dirty log of vhost-user: memory of this process, a memory file for others to set bits in, or one that another process has passed.
@safe public final class WriteBitmap: @unchecked Sendable {
    // Sendable: what does not change, and words that are only accessed atomically.
    private let mapping: MemoryMapping
    /// The word with the first bit, and the place of that bit in it.
    private let words: UnsafeMutableRawPointer
    private let shift: Int
    /// The pages that there are bits for.
    let pageCount: Int
    private let file: OwnedDescriptor?

    /// Bits for `pageCount` pages, all zero; `isShared` puts them into a sealed memory file.
    init(pageCount: Int, isShared: Bool) throws(SystemError) {
        self.pageCount = pageCount
        shift = 0
        let size = (pageCount + 63) / 64 * 8
        if isShared {
            let made = try makeMemoryFile(name: "swvmm-log", size: UInt64(size))
            try made.seal()
            mapping = try MemoryMapping(made, count: size)
            file = consume made
        } else {
            mapping = try MemoryMapping(anonymous: size)
            file = nil
        }
        unsafe words = mapping.range.base
    }

    /// Maps bits that lie in a file of another process, which is closed again. It must be memory that is sealed against shrinking: nobody
    /// shall make us fault.
    /// - Throws: EINVAL for no bytes, for more than can be, and for a file that is not sealed; EFBIG for one that is too short; what the
    ///   kernel answers.
    public init(foreign file: consuming OwnedDescriptor, size: UInt64, offset: UInt64) throws(SystemError) {
        let (end, overflow) = offset.addingReportingOverflow(size)
        guard size > 0, !overflow, let count = Int(exactly: end), let offset = Int(exactly: offset), file.isSealedMemory() else {
            throw SystemError("write log", .invalidArgument)
        }
        guard try file.status().size >= end else { throw SystemError("write log", .fileTooLarge) }
        mapping = try MemoryMapping(file, count: count)
        unsafe words = mapping.range.base + (offset & ~7)
        shift = offset % 8 * 8
        // Far more than guests have, and far less than could overflow.
        pageCount = Int(clamping: min(size, 1 << 50)) * 8
        self.file = nil
    }

    /// The descriptor of the memory file, for another process to map, and its size; nil unless it is ours and shared.
    var shared: (descriptor: Int32, size: UInt64)? {
        switch file {
        case .some(let file): (file.rawValue, UInt64(mapping.range.count))
        case .none: nil
        }
    }

    /// Whether there is a bit for every page up to that of the byte before `end`.
    public func covers(_ end: UInt64) -> Bool { end == 0 || (end - 1) / UInt64(MemoryExtent.pageSize) < UInt64(pageCount) }

    /// Sets the bits of the pages of all bytes from `first` to `last`, as far as there are bits.
    func mark(from first: UInt64, to last: UInt64) {
        let pageSize = UInt64(MemoryExtent.pageSize)
        guard first <= last, first / pageSize < UInt64(pageCount) else { return }
        var bit = Int(first / pageSize) + shift
        let end = Int(min(last / pageSize, UInt64(pageCount) - 1)) + 1 + shift
        while bit < end {
            let place = bit % 64
            let length = min(64 - place, end - bit)
            // The last word may reach beyond the bits that are ours; of those none is touched.
            let bits = (UInt64.max >> UInt64(64 - length)) << UInt64(place)
            unsafe _ = swv_fetch_or_u64(words + bit / 64 * 8, bits)
            bit += length
        }
    }

    /// All bits, the lowest page first, which are zero then. For bits that begin with a word: those of this process.
    func take() -> [UInt64] {
        var taken = [UInt64](repeating: 0, count: mapping.range.count / 8)
        for index in taken.indices where unsafe swv_load_u64(words + index * 8) != 0 {
            taken[index] = unsafe swv_exchange_u64(words + index * 8, 0)
        }
        return taken
    }
}

extension PageSet {
    /// Adds `count` pages at `page` of which bits from `first` on tell.
    mutating func insert(_ bits: [UInt64], from first: Int, count: Int, at page: Int) {
        guard count > 0, first >= 0 else { return }
        let shift = UInt64(first % 64)
        func word(_ index: Int) -> UInt64 { bits.indices.contains(index) ? bits[index] : 0 }
        var part = (0..<(count + 63) / 64).map { index in
            let low = word(first / 64 + index) >> shift
            return shift == 0 ? low : low | word(first / 64 + index + 1) << (64 - shift)
        }
        if count % 64 != 0 { part[part.count - 1] &= 1 << UInt64(count % 64) - 1 }
        insert(bitmap: part, at: page)
    }
}
