/// How the descriptors of a virtqueue lie in memory (virtio 1.3, 2.7 and 2.8).
public enum RingFormat: Sendable, Equatable {
    /// A descriptor table, an available ring and a used ring (2.7).
    case split
    /// One descriptor ring that both sides write, and two event suppression structures (2.8).
    case packed
}

/// What driver and device negotiated, as far as it concerns rings.
public struct RingFeatures: Sendable, Equatable {
    /// `.packed` when VIRTIO_F_RING_PACKED was negotiated.
    public var format: RingFormat
    /// VIRTIO_F_INDIRECT_DESC: a descriptor may refer to a table of descriptors.
    public var indirect: Bool
    /// VIRTIO_F_EVENT_IDX: either side may name the entry at which it wants a notification.
    public var eventIndex: Bool

    /// A set of negotiated ring features.
    public init(format: RingFormat = .split, indirect: Bool = false, eventIndex: Bool = false) {
        self.format = format
        self.indirect = indirect
        self.eventIndex = eventIndex
    }
}
