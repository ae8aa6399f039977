public import CAtomics

/// Whether `event` lies among the entries that were added between `old` and `new`, all modulo 2¹⁶ (2.7.7.2, 2.7.10).
///
/// The subtraction must be modular: a plain comparison loses the notification of a batch that crosses 65535.
@inlinable
func needEvent(_ event: UInt16, new: UInt16, old: UInt16) -> Bool {
    new &- event &- 1 < new &- old
}

/// Notification suppression as one side sees it: how it asks the other side for notifications, and whether that side wants one.
///
/// Driver and device do the same thing with the roles of the two areas exchanged (2.7.7, 2.7.10, 2.8.14), so there is one type for both.
@safe @usableFromInline
struct Suppression {
    @usableFromInline enum Side { case driver, device }

    /// The area that this side writes, and the event index in it (split rings).
    @usableFromInline let own: UnsafeMutableRawPointer
    @usableFromInline let ownEvent: UnsafeMutableRawPointer
    /// The same of the other side.
    @usableFromInline let peer: UnsafeMutableRawPointer
    @usableFromInline let peerEvent: UnsafeMutableRawPointer
    @usableFromInline let size: UInt16
    @usableFromInline let features: RingFeatures

    @inlinable
    init(_ side: Side, of ring: borrowing Ring) {
        size = ring.size
        features = ring.features
        let split = ring.features.format == .split
        let driverEvent = unsafe ring.driverArea + (split ? SplitLayout.usedEvent(size: ring.size) : 0)
        let deviceEvent = unsafe ring.deviceArea + (split ? SplitLayout.availableEvent(size: ring.size) : 0)
        switch side {
        case .driver:
            unsafe own = ring.driverArea
            unsafe ownEvent = driverEvent
            unsafe peer = ring.deviceArea
            unsafe peerEvent = deviceEvent
        case .device:
            unsafe own = ring.deviceArea
            unsafe ownEvent = deviceEvent
            unsafe peer = ring.driverArea
            unsafe peerEvent = driverEvent
        }
    }

    /// Asks for a notification when the other side fills the entry at `cursor`. A look at that entry after this call sees it, or the
    /// other side sees the request: the full fence leaves no third case.
    @inlinable
    func request(at cursor: RingCursor) {
        switch (features.format, features.eventIndex) {
        case (.split, false): unsafe swv_store_u16(own + SplitLayout.flags, 0)
        case (.split, true): unsafe swv_store_u16(ownEvent, cursor.index.littleEndian)
        case (.packed, false):
            let word = PackedLayout.event(flags: PackedLayout.eventEnable, at: cursor)
            unsafe swv_store_u32(own, word.littleEndian)
        case (.packed, true):
            let word = PackedLayout.event(flags: PackedLayout.eventAtDescriptor, at: cursor)
            unsafe swv_store_u32(own, word.littleEndian)
        }
        swv_fence_full()
    }

    /// Asks for no notifications; the other side may not see it at once.
    @inlinable
    func suppress(at cursor: RingCursor) {
        switch (features.format, features.eventIndex) {
        case (.split, false): unsafe swv_store_u16(own + SplitLayout.flags, SplitLayout.noNotification.littleEndian)
        // The flag must stay 0 here (2.7.7.1). The entry before the next one is the furthest away: 65535 entries.
        case (.split, true): unsafe swv_store_u16(ownEvent, (cursor.index &- 1).littleEndian)
        case (.packed, _):
            let word = PackedLayout.event(flags: PackedLayout.eventDisable, at: cursor)
            unsafe swv_store_u32(own, word.littleEndian)
        }
    }

    /// What `request` and `suppress` write, for dirty logging.
    @inlinable var written: HostRange {
        switch (features.format, features.eventIndex) {
        case (.split, false): unsafe HostRange(base: own + SplitLayout.flags, count: SplitLayout.eventBytes)
        case (.split, true): unsafe HostRange(base: ownEvent, count: SplitLayout.eventBytes)
        case (.packed, _): unsafe HostRange(base: own, count: PackedLayout.eventBytes)
        }
    }

    /// Whether the other side wants a notification for the last `count` entries that end before `cursor`, which were just published.
    ///
    /// The full fence orders the publishing store before the load of the other side's request; without it both sides can miss each
    /// other, also on x86 (2.7.13.4.1, 2.8.21.3.1).
    @inlinable
    func peerWants(_ count: UInt16, endingAt cursor: RingCursor) -> Bool {
        swv_fence_full()
        switch (features.format, features.eventIndex) {
        case (.split, false):
            return unsafe UInt16(littleEndian: swv_load_u16(peer + SplitLayout.flags)) & SplitLayout.noNotification == 0
        case (.split, true):
            let event = unsafe UInt16(littleEndian: swv_load_u16(peerEvent))
            return needEvent(event, new: cursor.index, old: cursor.index &- count)
        case (.packed, let eventIndex):
            let word = unsafe UInt32(littleEndian: swv_load_u32(peer))
            switch PackedLayout.eventFlags(word) {
            case PackedLayout.eventDisable: return false
            case PackedLayout.eventAtDescriptor where eventIndex:
                let event = PackedLayout.eventCursor(word)
                // Relative to the round that `cursor` is in, an event of the other round lies one queue size back.
                let index = event.wrap == cursor.wrap ? event.index : event.index &- size
                return needEvent(index, new: cursor.index, old: cursor.index &- count)
            default: return true  // Enabled; a reserved value must not cost a notification.
            }
        }
    }
}
