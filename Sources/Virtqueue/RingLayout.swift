// The one place for what the specification says about the bytes of a ring: sizes, alignments, offsets and flag values.

/// One of the three parts of a virtqueue, each contiguous in memory.
public enum RingArea: Sendable, Equatable, CaseIterable {
    /// Descriptor table (split) or descriptor ring (packed).
    case descriptor
    /// Available ring (split) or driver event suppression (packed): the driver writes it.
    case driver
    /// Used ring (split) or device event suppression (packed): the device writes it.
    case device
}

extension RingFormat {
    /// The largest queue of either format (2.7, 2.8).
    @inlinable public static var maxQueueSize: UInt16 { 32768 }

    /// Whether a queue may have `size` descriptors: 1 to 32768, and a power of two in the split format.
    @inlinable
    public func allows(size: UInt16) -> Bool {
        guard size >= 1, size <= Self.maxQueueSize else { return false }
        return self == .packed || size & (size &- 1) == 0
    }

    /// The bytes that one part of a queue of `size` descriptors takes.
    @inlinable
    public func byteCount(of area: RingArea, size: UInt16) -> Int {
        switch (self, area) {
        case (_, .descriptor): DescriptorLayout.stride * Int(size)
        case (.split, .driver): SplitLayout.availableEntries + SplitLayout.availableStride * Int(size) + SplitLayout.eventBytes
        case (.split, .device): SplitLayout.usedEntries + SplitLayout.usedStride * Int(size) + SplitLayout.eventBytes
        case (.packed, .driver), (.packed, .device): PackedLayout.eventBytes
        }
    }

    /// The alignment, in bytes, that the address of one part must have.
    @inlinable
    public func alignment(of area: RingArea) -> Int {
        switch (self, area) {
        case (_, .descriptor): 16
        case (.split, .driver): 2
        case (.split, .device), (.packed, .driver), (.packed, .device): 4
        }
    }
}

/// A descriptor of either format: 16 bytes, read and written as two 64-bit words of which the second holds length, flags and tag.
@usableFromInline
enum DescriptorLayout {
    @usableFromInline static var stride: Int { 16 }
    @usableFromInline static var secondWord: Int { 8 }
}

/// `struct virtq_avail` and `struct virtq_used` (2.7.6, 2.7.8): flags, idx, entries, and the event index behind the last entry.
@usableFromInline
enum SplitLayout {
    @usableFromInline static var flags: Int { 0 }
    @usableFromInline static var index: Int { 2 }
    @usableFromInline static var availableEntries: Int { 4 }
    @usableFromInline static var availableStride: Int { 2 }
    @usableFromInline static var usedEntries: Int { 4 }
    @usableFromInline static var usedStride: Int { 8 }
    @usableFromInline static var eventBytes: Int { 2 }

    @inlinable
    static func usedEvent(size: UInt16) -> Int { availableEntries + availableStride * Int(size) }

    @inlinable
    static func availableEvent(size: UInt16) -> Int { usedEntries + usedStride * Int(size) }

    /// VIRTQ_AVAIL_F_NO_INTERRUPT and VIRTQ_USED_F_NO_NOTIFY: the same bit in either ring.
    @usableFromInline static var noNotification: UInt16 { 1 }
}

/// `struct pvirtq_event_suppress` (2.8.14): offset (15 bits), wrap counter, flags (2 bits); read and written as one 32-bit word.
@usableFromInline
enum PackedLayout {
    @usableFromInline static var eventBytes: Int { 4 }

    @usableFromInline static var eventEnable: UInt32 { 0 }
    @usableFromInline static var eventDisable: UInt32 { 1 }
    @usableFromInline static var eventAtDescriptor: UInt32 { 2 }

    @inlinable
    static func event(flags: UInt32, at cursor: RingCursor) -> UInt32 {
        flags << 16 | (cursor.wrap ? 0x8000 : 0) | UInt32(cursor.index & 0x7fff)
    }

    @inlinable
    static func eventFlags(_ word: UInt32) -> UInt32 { (word >> 16) & 3 }

    @inlinable
    static func eventCursor(_ word: UInt32) -> RingCursor {
        RingCursor(index: UInt16(truncatingIfNeeded: word & 0x7fff), wrap: word & 0x8000 != 0)
    }
}
