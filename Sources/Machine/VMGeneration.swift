public import GuestMemory

/// The VM Generation ID: 128 random bits in guest memory that change whenever the guest goes on from a snapshot, so that clones know that
/// they are not alone with their random numbers.
public struct VMGeneration: Sendable, Equatable {
    /// The 16 bytes as they lie in memory.
    public let bytes: [UInt8]

    /// An ID of 16 bytes; nil for any other number.
    public init?(bytes: [UInt8]) {
        guard bytes.count == Self.byteCount else { return nil }
        self.bytes = bytes
    }

    /// The ID that stands in memory.
    public init?(in memory: GuestMemory) {
        guard let bytes = memory.read(at: AddressMap.vmGeneration.lowerBound, count: Self.byteCount) else { return nil }
        self.bytes = bytes
    }

    /// The size of an ID.
    public static let byteCount = 16

    /// Puts it where the guest looks.
    public func write(into memory: GuestMemory) { memory.write(bytes, at: AddressMap.vmGeneration.lowerBound) }

    /// As people write it: 32 hexadecimal digits in the order of memory, in five groups.
    public var text: String {
        var text = ""
        for (index, byte) in bytes.enumerated() {
            if [4, 6, 8, 10].contains(index) { text += "-" }
            text += (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        return text
    }
}
