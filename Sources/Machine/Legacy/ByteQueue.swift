/// A FIFO of at most 16 bytes that never allocates: the UART's receiver.
struct ByteQueue {
    static let capacity = 16

    private var storage = InlineArray<16, UInt8>(repeating: 0)
    private var head = 0
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }

    /// Appends a byte; false when there is no room.
    mutating func append(_ byte: UInt8) -> Bool {
        guard count < Self.capacity else { return false }
        storage[(head + count) % Self.capacity] = byte
        count += 1
        return true
    }

    /// Takes the oldest byte; nil when there is none.
    mutating func popFirst() -> UInt8? {
        guard count > 0 else { return nil }
        let byte = storage[head]
        head = (head + 1) % Self.capacity
        count -= 1
        return byte
    }

    mutating func removeAll() { count = 0 }

    /// The bytes, oldest first.
    var bytes: [UInt8] { (0..<count).map { storage[(head + $0) % Self.capacity] } }
}
