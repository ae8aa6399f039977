public import Virtio

extension Features {
    /// VIRTIO_BLK_F_SEG_MAX (2): the most segments of a request are in `seg_max`.
    static let blockSegmentMax = Features(bit: 2)
    /// VIRTIO_BLK_F_RO (5): the device is read-only.
    static let blockReadOnly = Features(bit: 5)
    /// VIRTIO_BLK_F_BLK_SIZE (6): the block size is in `blk_size`.
    static let blockSize = Features(bit: 6)
    /// VIRTIO_BLK_F_FLUSH (9): flush requests are understood.
    static let blockFlush = Features(bit: 9)
    /// VIRTIO_BLK_F_TOPOLOGY (10): physical block size and I/O hints are in `topology`.
    static let blockTopology = Features(bit: 10)
    /// VIRTIO_BLK_F_CONFIG_WCE (11): the driver may switch between writeback and writethrough.
    public static let blockConfigWCE = Features(bit: 11)
    /// VIRTIO_BLK_F_MQ (12): there are `num_queues` queues.
    public static let blockMultiQueue = Features(bit: 12)
    /// VIRTIO_BLK_F_DISCARD (13).
    static let blockDiscard = Features(bit: 13)
    /// VIRTIO_BLK_F_WRITE_ZEROES (14).
    static let blockWriteZeroes = Features(bit: 14)
}

/// The limits that the device announces and holds its driver to.
enum BlockLimits {
    /// The unit of `capacity`, `sector` and `num_sectors`, in bytes, whatever the block size is (virtio 1.3, 5.2.4).
    static let sector: UInt64 = 512
    /// The ranges of one discard or write zeroes request (`max_discard_seg`, `max_write_zeroes_seg`).
    static let ranges = 16
    /// The sectors of one range of a discard request: 2 GiB.
    static let discardSectors: UInt32 = 1 << 22
    /// The sectors of one range of a write zeroes request: 128 MiB, because it may end in writing that much.
    static let writeZeroesSectors: UInt32 = 1 << 18
    /// The length of the device ID string (virtio 1.3, 5.2.6).
    static let identity = 20
    /// The most descriptors of a chain: header, data, status.
    static func chainCapacity(queueSize: UInt16) -> Int { max(3, min(Int(queueSize), 128)) }
    /// The most requests of one queue that are in flight at once.
    static func inFlight(queueSize: UInt16) -> Int { max(1, min(Int(queueSize), 128)) }
}
