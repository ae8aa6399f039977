/// An Ethernet address.
public struct MACAddress: Sendable, Hashable, CustomStringConvertible {
    /// The six bytes, the first one on the wire in bits 47…40.
    public let value: UInt64

    /// The address whose bytes are the lower 48 bits, most significant first.
    public init(value: UInt64) { self.value = value & 0xffff_ffff_ffff }

    /// Reads six pairs of hexadecimal digits with colons between them; nil for anything else.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 6 else { return nil }
        var value: UInt64 = 0
        for part in parts {
            guard part.utf8.count == 2, part.allSatisfy(\.isHexDigit), let byte = UInt8(part, radix: 16) else { return nil }
            value = value << 8 | UInt64(byte)
        }
        self.init(value: value)
    }

    /// A locally administered unicast address that depends on `name` alone: the same machine gets the same address each time.
    public init(derivedFrom name: String) {
        // FNV-1a: only has to spread names over 46 bits.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        hash ^= hash >> 48
        self.init(value: hash & 0xfcff_ffff_ffff | 0x0200_0000_0000)
    }

    /// The address in six bytes; nil unless there are exactly six.
    init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 6 else { return nil }
        self.init(value: bytes.reduce(0) { $0 << 8 | UInt64($1) })
    }

    /// The six bytes as they stand in a frame.
    public var bytes: [UInt8] { (0..<6).map { UInt8(truncatingIfNeeded: value >> UInt64(40 - 8 * $0)) } }

    /// Whether this is a group address; broadcast is one.
    public var isMulticast: Bool { value & 0x0100_0000_0000 != 0 }

    /// ff:ff:ff:ff:ff:ff.
    public static let broadcast = MACAddress(value: 0xffff_ffff_ffff)

    /// `52:54:00:12:34:56`.
    public var description: String {
        bytes.map { $0 < 16 ? "0" + String($0, radix: 16) : String($0, radix: 16) }.joined(separator: ":")
    }
}
