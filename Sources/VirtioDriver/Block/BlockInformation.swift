public import Virtio

/// What a block device says of itself (`struct virtio_blk_config`, virtio 1.3, 5.2.4). Sizes are in bytes.
public struct BlockInformation: ConfigurationLayout, Sendable, Equatable {
    /// The unit of everything that the device counts.
    public static let sector: UInt64 = 512

    /// The size of the disk, less than 2⁶³: what a device claims beyond that nobody can address.
    public var capacity: UInt64
    /// The most bytes of one buffer of a request; nil: the device does not say.
    public var segmentBytes: UInt32?
    /// The most buffers of a request; nil: the device does not say.
    public var segments: UInt32?
    /// The block size that suits the device. Requests need only be whole sectors.
    public var blockSize: UInt32?
    /// The number of queues.
    public var queues: UInt16
    /// The most bytes of a discard request.
    public var discardBytes: UInt64
    /// What a discarded range should begin and end at a multiple of.
    public var discardAlignment: UInt64
    /// The most bytes of a write zeroes request.
    public var zeroBytes: UInt64
    /// Whether a write zeroes request may give storage back.
    public var zeroesMayUnmap: Bool

    /// The bytes that the fields up to `write_zeroes_may_unmap` take.
    public static var byteCount: Int { 60 }

    /// Takes every field, negotiated or not; see `limited`.
    public init(_ fields: borrowing ConfigurationFields) {
        capacity = min(fields.integer(at: 0, as: UInt64.self), 1 << 53) * Self.sector
        segmentBytes = fields.integer(at: 8)
        segments = fields.integer(at: 12)
        blockSize = fields.integer(at: 20)
        queues = fields.integer(at: 34)
        discardBytes = UInt64(fields.integer(at: 36, as: UInt32.self)) * Self.sector
        discardAlignment = UInt64(fields.integer(at: 44, as: UInt32.self)) * Self.sector
        zeroBytes = UInt64(fields.integer(at: 48, as: UInt32.self)) * Self.sector
        zeroesMayUnmap = fields.integer(at: 56, as: UInt8.self) == 1
    }

    /// Without the fields that mean nothing because their feature was not negotiated (virtio 1.3, 5.2.4).
    func limited(to features: Features) -> BlockInformation {
        var own = self
        if !features.contains(.blkSizeMax) || own.segmentBytes == 0 { own.segmentBytes = nil }
        if !features.contains(.blkSegMax) || own.segments == 0 { own.segments = nil }
        if !features.contains(.blkBlkSize) || own.blockSize == 0 { own.blockSize = nil }
        if !features.contains(.blkMQ) || own.queues == 0 { own.queues = 1 }
        if !features.contains(.blkDiscard) { (own.discardBytes, own.discardAlignment) = (0, 0) }
        if !features.contains(.blkWriteZeroes) { (own.zeroBytes, own.zeroesMayUnmap) = (0, false) }
        return own
    }
}

// The feature bits of block devices as a driver knows them (virtio 1.3, 5.2.3).
extension Features {
    /// VIRTIO_BLK_F_SIZE_MAX (1).
    public static let blkSizeMax = Features(bit: 1)
    /// VIRTIO_BLK_F_SEG_MAX (2).
    public static let blkSegMax = Features(bit: 2)
    /// VIRTIO_BLK_F_RO (5).
    public static let blkReadOnly = Features(bit: 5)
    /// VIRTIO_BLK_F_BLK_SIZE (6).
    public static let blkBlkSize = Features(bit: 6)
    /// VIRTIO_BLK_F_FLUSH (9).
    public static let blkFlush = Features(bit: 9)
    /// VIRTIO_BLK_F_TOPOLOGY (10).
    public static let blkTopology = Features(bit: 10)
    /// VIRTIO_BLK_F_MQ (12).
    public static let blkMQ = Features(bit: 12)
    /// VIRTIO_BLK_F_DISCARD (13).
    public static let blkDiscard = Features(bit: 13)
    /// VIRTIO_BLK_F_WRITE_ZEROES (14).
    public static let blkWriteZeroes = Features(bit: 14)
}
