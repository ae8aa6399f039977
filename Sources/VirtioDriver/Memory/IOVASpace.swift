import Virtqueue

/// The addresses under which a device knows memory of ours: which are taken, and by what.
struct IOVASpace: Sendable {
    /// Memory that the device was shown.
    struct Mapping: Sendable {
        let iova: UInt64
        let memory: SharedMemory

        /// The last address.
        var last: UInt64 { iova + UInt64(memory.count - 1) }
    }

    /// The ranges that may be used, ascending and apart from each other, and the granularity of addresses, a power of two.
    private let pools: [ClosedRange<UInt64>]
    private let alignment: UInt64
    /// In ascending order of their addresses.
    private(set) var mappings: [Mapping] = []

    /// A space of `pools`. Address 0, and the page that it begins, is never used: there are devices that take it for none.
    init(pools: [ClosedRange<UInt64>], alignment: UInt64 = UInt64(SharedMemory.pageSize)) {
        self.pools = pools.compactMap { pool in
            let first = max(pool.lowerBound, alignment)
            return first <= pool.upperBound ? first...pool.upperBound : nil
        }.sorted { $0.lowerBound < $1.lowerBound }
        self.alignment = alignment
    }

    /// Gives memory the lowest place where it fits; its address.
    mutating func insert(_ memory: SharedMemory) throws(DriverError) -> UInt64 {
        guard !mappings.contains(where: { $0.memory === memory }) else { throw .alreadyMapped }
        for pool in pools {
            guard var start = aligned(pool.lowerBound) else { continue }
            for mapping in mappings where mapping.last >= start {
                guard !fits(memory.count, from: start, before: mapping.iova) else { break }
                guard mapping.last < pool.upperBound, let next = aligned(mapping.last + 1) else {
                    start = .max
                    break
                }
                start = max(start, next)
            }
            guard start <= pool.upperBound, UInt64(memory.count - 1) <= pool.upperBound - start else { continue }
            let index = mappings.firstIndex { $0.iova > start } ?? mappings.endIndex
            mappings.insert(Mapping(iova: start, memory: memory), at: index)
            return start
        }
        throw .noAddressSpace(memory.count)
    }

    /// Forgets memory; where it was, or nil when it was nowhere.
    mutating func remove(_ memory: SharedMemory) -> UInt64? {
        guard let index = mappings.firstIndex(where: { $0.memory === memory }) else { return nil }
        return mappings.remove(at: index).iova
    }

    private func aligned(_ address: UInt64) -> UInt64? {
        let (sum, overflow) = address.addingReportingOverflow(alignment - 1)
        return overflow ? nil : sum & ~(alignment - 1)
    }

    private func fits(_ count: Int, from start: UInt64, before end: UInt64) -> Bool { end >= start && end - start >= UInt64(count) }
}
