import Virtio

/// The device-specific configuration space as the driver last saw it, and the generation count that follows from it (virtio 1.3, 2.5.1).
///
/// Every read fetches the whole space and compares. So the generation changes exactly when the driver could have put old and new bytes
/// together, whatever order a device changes its bytes and announces the change in; and a wrap of the count needs as many reads.
struct ConfigurationShadow {
    /// Bytes of configuration space that a transport shows; no device type of the specification has more.
    static let size = 256

    private var bytes: [UInt8]?
    /// The driver may have read something that this does not know of.
    private var isRestored = false
    /// The generation count; PCI shows its low byte.
    private(set) var generation: UInt32 = 0

    /// A shadow of what no driver has read yet.
    init() {}

    /// A shadow that goes on at a saved generation. What the driver had read is not saved, so the first read counts as a change: the driver
    /// may have stopped in the middle of a field.
    init(after generation: UInt32) {
        self.generation = generation
        isRestored = true
    }

    /// Reads `width` bytes; those beyond the space are zero.
    mutating func read(_ device: any VirtioDevice, at offset: UInt64, width: Int) -> UInt64 {
        var fresh = [UInt8](repeating: 0, count: Self.size)
        var span = fresh.mutableSpan
        device.readConfiguration(at: 0, into: &span)
        if isRestored || (bytes != nil && bytes != fresh) { generation &+= 1 }
        isRestored = false
        bytes = fresh
        guard let start = Int(exactly: offset), start < Self.size else { return 0 }
        var value: UInt64 = 0
        for (position, byte) in fresh[start..<min(start + max(0, min(width, 8)), Self.size)].enumerated() {
            value |= UInt64(byte) << UInt64(8 * position)
        }
        return value
    }

    /// Writes the low `width` bytes of `value`, unless they reach beyond the space.
    func write(_ value: UInt64, to device: any VirtioDevice, at offset: UInt64, width: Int) {
        guard let start = Int(exactly: offset), (1...8).contains(width), start <= Self.size - width else { return }
        let bytes = (0..<width).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
        device.writeConfiguration(at: start, from: bytes.span)
    }
}
