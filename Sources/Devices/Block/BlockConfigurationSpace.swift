import Virtio

/// `struct virtio_blk_config` (virtio 1.3, 5.2.4): what the driver reads about the disk. Capacity and cache mode can change and are put in
/// at each read; the rest is laid out once.
struct BlockConfigurationSpace: Sendable {
    /// The offset of `writeback`, the one field that a driver writes.
    static let writeback = 32
    /// Bytes up to the end of what this project knows: write zeroes.
    static let size = 60
    private let fixed: [UInt8]
    /// The logical block size in bytes.
    let blockSize: Int

    /// Lays the fields out. Sizes are in bytes; `physicalBlock` is a power of two and at least `block`.
    init(features: Features, segments: Int, block: Int, physicalBlock: Int, queues: Int) {
        var bytes = [UInt8](repeating: 0, count: Self.size)
        func put<T: FixedWidthInteger>(_ value: T, at offset: Int) {
            for index in 0..<MemoryLayout<T>.size { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
        }
        let blocks = max(physicalBlock / block, 1)
        put(UInt32(clamping: segments), at: 12)
        put(UInt32(clamping: block), at: 20)
        put(UInt8(blocks.trailingZeroBitCount), at: 24)
        put(UInt16(clamping: blocks), at: 26)
        if features.contains(.blockMultiQueue) { put(UInt16(clamping: queues), at: 34) }
        if features.contains(.blockDiscard) {
            put(BlockLimits.discardSectors, at: 36)
            put(UInt32(BlockLimits.ranges), at: 40)
            put(UInt32(clamping: physicalBlock / Int(BlockLimits.sector)), at: 44)
        }
        if features.contains(.blockWriteZeroes) {
            put(BlockLimits.writeZeroesSectors, at: 48)
            put(UInt32(BlockLimits.ranges), at: 52)
            put(UInt8(features.contains(.blockDiscard) ? 1 : 0), at: 56)
        }
        fixed = bytes
        blockSize = block
    }

    /// Copies bytes from `offset` on; those beyond the end are zero.
    func read(at offset: Int, into bytes: inout MutableSpan<UInt8>, capacity: UInt64, writeback: Bool) {
        for index in bytes.indices {
            let (position, overflow) = offset.addingReportingOverflow(index)
            bytes[index] =
                switch position {
                case _ where overflow || position < 0: 0
                case 0..<8: UInt8(truncatingIfNeeded: capacity >> (8 * UInt64(position)))
                case Self.writeback: writeback ? 1 : 0
                case ..<fixed.count: fixed[position]
                default: 0
                }
        }
    }
}
