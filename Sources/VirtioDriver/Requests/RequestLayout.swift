public import Virtqueue

/// What each request of a kind of device needs in memory that the device sees, besides its data: a header, a status.
///
/// Every request has its own place for it for as long as it is with the device. It is copied in before, and out afterwards: the device may
/// change it at any time.
public protocol RequestLayout: Sendable {
    /// Its size in bytes.
    static var byteCount: Int { get }
    /// Copies it out of at least `byteCount` bytes.
    init(loadingFrom place: HostRange)
    /// Copies it to at least `byteCount` bytes.
    func store(to place: HostRange)
}

/// The buffers of a request that is being made: first those that the device reads, then those that it writes.
public struct RequestBuffers: Sendable {
    /// Holds all, readable ones first.
    var buffers: [DriverBuffer]
    var readable = 0
    var writable = 0
    /// The most that fit.
    let limit: Int

    init(capacity: Int) {
        buffers = Array(repeating: DriverBuffer(address: 0, count: 0), count: capacity)
        limit = capacity
    }

    mutating func clear() {
        readable = 0
        writable = 0
    }

    mutating func append(_ address: UInt64, _ count: Int, isWritable: Bool) throws(DriverError) {
        guard let bytes = UInt32(exactly: count) else { throw .tooLarge(UInt64(clamping: count), limit: UInt64(UInt32.max)) }
        guard bytes > 0 else { throw .noData }
        guard isWritable || writable == 0 else { throw .wrongState("What the device reads stands before what it writes.") }
        let index = readable + writable
        guard index < limit else { throw .chain(.tooManyBuffers(index + 1, limit: UInt16(clamping: limit))) }
        buffers[index] = DriverBuffer(address: address, count: bytes)
        if isWritable { writable += 1 } else { readable += 1 }
    }

    /// Makes a chain of them.
    func add<Memory>(to ring: inout DriverQueue<Memory>) throws(DriverFault) -> UInt16 {
        let all = buffers.span
        return try ring.add(readable: all.extracting(..<readable), writable: all.extracting(readable..<readable + writable))
    }
}
