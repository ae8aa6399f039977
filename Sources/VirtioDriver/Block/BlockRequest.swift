public import Virtqueue

/// What a block request needs besides its data (`struct virtio_blk_req`, virtio 1.3, 5.2.6), all of it in one place.
public struct BlockRequest: RequestLayout {
    var type: UInt32 = 0
    var sector: UInt64 = 0
    /// The one range of a discard or write zeroes request: its first sector, their number, and VIRTIO_BLK_T_…'s flag bit 0, unmap.
    var rangeSector: UInt64 = 0
    var rangeSectors: UInt32 = 0
    var rangeFlags: UInt32 = 0
    /// The answer to VIRTIO_BLK_T_GET_ID.
    var identity: (UInt64, UInt64, UInt32) = (0, 0, 0)
    /// What the device writes at last; what no device writes before it has.
    var status: UInt8 = 0xff

    /// The types of requests.
    enum Kind {
        static let read: UInt32 = 0
        static let write: UInt32 = 1
        static let flush: UInt32 = 4
        static let identify: UInt32 = 8
        static let discard: UInt32 = 11
        static let writeZeroes: UInt32 = 13
    }

    /// Where the parts lie.
    enum Part {
        static let header = 0..<16
        static let range = 16..<32
        static let identity = 32..<52
        static let status = 52..<53
    }

    /// Up to the status.
    public static var byteCount: Int { 53 }

    init(_ type: UInt32, sector: UInt64 = 0) {
        self.type = type
        self.sector = sector
    }

    /// What the device may have written.
    public init(loadingFrom place: HostRange) {
        identity = (place.load(at: 32) ?? 0, place.load(at: 40) ?? 0, place.load(at: 48) ?? 0)
        status = place.load(at: Part.status.lowerBound) ?? 0xff
    }

    /// What the device reads, and a status that it has to overwrite.
    public func store(to place: HostRange) {
        place.store(type, at: 0)
        place.store(UInt32(0), at: 4)
        place.store(sector, at: 8)
        if rangeSectors > 0 {
            place.store(rangeSector, at: 16)
            place.store(rangeSectors, at: 24)
            place.store(rangeFlags, at: 28)
        }
        place.store(status, at: Part.status.lowerBound)
    }

    /// The identity as text: up to its first zero byte.
    var identityText: String {
        var bytes: [UInt8] = []
        for (word, count) in [(identity.0, 8), (identity.1, 8), (UInt64(identity.2), 4)] {
            for index in 0..<count { bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(8 * index))) }
        }
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
}
