public import CAtomics

/// A descriptor, copied out of shared memory in one go: what is validated is what is used.
@usableFromInline
struct Descriptor {
    @usableFromInline var address: UInt64
    @usableFromInline var length: UInt32
    @usableFromInline var flags: UInt16
    /// Split: the next descriptor's index, meaningful with NEXT. Packed: the buffer id.
    @usableFromInline var tag: UInt16

    @inlinable
    init(address: UInt64, length: UInt32, flags: UInt16, tag: UInt16) {
        self.address = address
        self.length = length
        self.flags = flags
        self.tag = tag
    }

    /// VIRTQ_DESC_F_NEXT
    @usableFromInline static var next: UInt16 { 1 << 0 }
    /// VIRTQ_DESC_F_WRITE
    @usableFromInline static var write: UInt16 { 1 << 1 }
    /// VIRTQ_DESC_F_INDIRECT
    @usableFromInline static var indirect: UInt16 { 1 << 2 }
    /// VIRTQ_DESC_F_AVAIL (packed)
    @usableFromInline static var available: UInt16 { 1 << 7 }
    /// VIRTQ_DESC_F_USED (packed)
    @usableFromInline static var used: UInt16 { 1 << 15 }

    @inlinable var hasNext: Bool { flags & Self.next != 0 }
    @inlinable var isWritable: Bool { flags & Self.write != 0 }
    @inlinable var isIndirect: Bool { flags & Self.indirect != 0 }

    // MARK: The two orders of the second word

    /// Split: length, flags, next (2.7.5).
    @inlinable
    init(splitWords first: UInt64, _ second: UInt64) {
        self.init(
            address: first, length: UInt32(truncatingIfNeeded: second), flags: UInt16(truncatingIfNeeded: second >> 32),
            tag: UInt16(truncatingIfNeeded: second >> 48))
    }

    /// Packed: length, id, flags (2.8.13).
    @inlinable
    init(packedWords first: UInt64, _ second: UInt64) {
        self.init(
            address: first, length: UInt32(truncatingIfNeeded: second), flags: UInt16(truncatingIfNeeded: second >> 48),
            tag: UInt16(truncatingIfNeeded: second >> 32))
    }

    @inlinable var splitSecondWord: UInt64 { UInt64(length) | UInt64(flags) << 32 | UInt64(tag) << 48 }
    @inlinable var packedSecondWord: UInt64 { UInt64(length) | UInt64(tag) << 32 | UInt64(flags) << 48 }

    // MARK: Packed ownership (2.8.1)

    /// The two ownership bits of a descriptor that the driver makes available in a round with this wrap counter.
    @inlinable
    static func availableFlags(wrap: Bool) -> UInt16 { wrap ? available : used }

    /// The two ownership bits of a descriptor that the device uses in a round with this wrap counter.
    @inlinable
    static func usedFlags(wrap: Bool) -> UInt16 { wrap ? available | used : 0 }

    @inlinable
    func isAvailable(wrap: Bool) -> Bool { flags & (Self.available | Self.used) == Self.availableFlags(wrap: wrap) }

    @inlinable
    func isUsed(wrap: Bool) -> Bool { flags & (Self.available | Self.used) == Self.usedFlags(wrap: wrap) }

    // MARK: Indirect tables

    /// Copies entry `index` of an indirect table. A table need not be aligned, and the caller has checked that the entry lies inside it.
    @inlinable @unsafe
    init(entry index: Int, of table: UnsafeMutableRawPointer, format: RingFormat) {
        let entry = unsafe table + index * DescriptorLayout.stride
        let first = unsafe UInt64(littleEndian: swv_load_unaligned_u64(entry))
        let second = unsafe UInt64(littleEndian: swv_load_unaligned_u64(entry + DescriptorLayout.secondWord))
        switch format {
        case .split: self.init(splitWords: first, second)
        case .packed: self.init(packedWords: first, second)
        }
    }

    /// Writes this descriptor as entry `index` of an indirect table. The caller has checked that the entry lies inside it.
    @inlinable @unsafe
    func store(entry index: Int, of table: UnsafeMutableRawPointer, format: RingFormat) {
        let entry = unsafe table + index * DescriptorLayout.stride
        let second = format == .split ? splitSecondWord : packedSecondWord
        unsafe entry.storeBytes(of: address.littleEndian, as: UInt64.self)
        unsafe (entry + DescriptorLayout.secondWord).storeBytes(of: second.littleEndian, as: UInt64.self)
    }
}
