/// Where a serial port's output goes.
public protocol SerialOutput: AnyObject, Sendable {
    /// Takes bytes from the front of `bytes`, as many as it can without waiting, and says how many.
    ///
    /// Called with the port's lock held, on a vCPU thread or on the thread that flushes, so it must neither wait (a full terminal would
    /// stop the guest and the port's input with it) nor call the port. What it does not take is offered again by the next `flush`.
    func writeSerial(_ bytes: Span<UInt8>) -> Int
}

/// The bytes that a serial port has sent and its output has not taken yet.
///
/// Each OUT instruction costs an exit, but only a batch costs a write(2).
struct OutputBatch {
    /// The UART promises room for its whole transmit FIFO (16) when it says that the holding register is empty, hence the margin.
    static let capacity = 256
    private static let promisedRoom = 16

    private var storage = InlineArray<256, UInt8>(repeating: 0)
    private(set) var count = 0
    private var hasWritten = false

    var isEmpty: Bool { count == 0 }
    /// Whether the transmitter can take a FIFO's worth of bytes.
    var hasRoom: Bool { count <= Self.capacity - Self.promisedRoom }

    /// Adds a byte, and says whether the batch is to be written now: at the end of a line, when it is nearly full, and for the very
    /// first byte, because how soon a guest is heard of is what people wait for. A byte beyond the capacity is lost, as on a UART whose
    /// driver does not ask for room.
    mutating func append(_ byte: UInt8) -> Bool {
        guard count < Self.capacity else { return true }
        storage[count] = byte
        count += 1
        let isFirst = !hasWritten
        hasWritten = true
        return isFirst || byte == UInt8(ascii: "\n") || !hasRoom
    }

    /// Offers everything to `output` and keeps what it does not take.
    mutating func flush(to output: any SerialOutput) {
        guard count > 0 else { return }
        let taken = min(max(output.writeSerial(storage.span.extracting(first: count)), 0), count)
        for index in taken..<count { storage[index - taken] = storage[index] }
        count -= taken
    }

    /// The bytes, oldest first.
    var bytes: [UInt8] { (0..<count).map { storage[$0] } }

    init() {}

    /// A batch as saved; `bytes` beyond the capacity are dropped.
    init(restoring bytes: [UInt8]) {
        for byte in bytes.prefix(Self.capacity) { _ = append(byte) }
        hasWritten = true
    }
}
