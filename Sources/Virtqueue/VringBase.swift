// A position as vhost has it, in the kernel and over a socket (VHOST_GET_VRING_BASE, VHOST_USER_GET_VRING_BASE): the available index (split),
// or both indices with their wrap counters in bit 15 of each half (packed).

extension QueuePosition {
    /// The word for a position.
    public func vringBase(_ format: RingFormat) -> UInt32 {
        switch format {
        case .split: UInt32(available)
        case .packed:
            UInt32(available & 0x7fff) | (availableWrap ? 1 << 15 : 0) | UInt32(used & 0x7fff) << 16 | (usedWrap ? 1 << 31 : 0)
        }
    }

    /// The position that a word stands for; `used` is the split ring's used index, which the word does not have.
    public init(vringBase word: UInt32, _ format: RingFormat, used: UInt16) {
        let low = UInt16(truncatingIfNeeded: word)
        let high = UInt16(truncatingIfNeeded: word >> 16)
        self =
            switch format {
            case .split: QueuePosition(available: low, used: used)
            case .packed:
                QueuePosition(
                    available: low & 0x7fff, availableWrap: low & 0x8000 != 0, used: high & 0x7fff, usedWrap: high & 0x8000 != 0)
            }
    }
}
