public import Virtqueue

// One request at a time, until it is done: for whoever needs no more.

extension BlockQueue {
    /// How long a device may take for a request, in milliseconds, when the caller does not say.
    public static let patience: Int64 = 30_000

    /// Reads, and waits for it.
    ///
    /// - Throws: what `read(at:into:context:)` throws; `.failed` with the device's answer; `.timedOut`, `.gone`, `.needsReset`.
    public mutating func read(at offset: UInt64, into buffer: HostRange, within milliseconds: Int64 = patience) throws(DriverError) {
        try read(at: offset, into: buffer, context: try context())
        _ = try finish(milliseconds)
    }

    /// Writes, and waits for it.
    public mutating func write(at offset: UInt64, from buffer: HostRange, within milliseconds: Int64 = patience) throws(DriverError) {
        try write(at: offset, from: buffer, context: try context())
        _ = try finish(milliseconds)
    }

    /// Flushes, and waits for it.
    public mutating func flush(within milliseconds: Int64 = patience) throws(DriverError) {
        try flush(context: try context())
        _ = try finish(milliseconds)
    }

    /// Discards, and waits for it.
    public mutating func discard(at offset: UInt64, count: UInt64, within milliseconds: Int64 = patience) throws(DriverError) {
        try discard(at: offset, count: count, context: try context())
        _ = try finish(milliseconds)
    }

    /// Writes zeros, and waits for it.
    public mutating func writeZeroes(
        at offset: UInt64, count: UInt64, unmap: Bool = false, within milliseconds: Int64 = patience
    ) throws(DriverError) {
        try writeZeroes(at: offset, count: count, unmap: unmap, context: try context())
        _ = try finish(milliseconds)
    }

    /// The device's name, up to 20 characters.
    public mutating func identity(within milliseconds: Int64 = patience) throws(DriverError) -> String {
        try identify(context: try context())
        return try finish(milliseconds).identity
    }

    /// Only a queue with nothing in flight can be waited for in this way: somebody else's completion would come in between.
    private func context() throws(DriverError) -> UInt64 {
        guard inFlight == 0 else { throw .wrongState("Requests are in flight: take their completions first.") }
        return 0
    }

    private mutating func finish(_ milliseconds: Int64) throws(DriverError) -> Completion {
        submit()
        guard try wait(milliseconds: milliseconds), let completion = try nextCompletion() else { throw .timedOut }
        guard completion.status == .ok else { throw .failed(completion.status) }
        return completion
    }
}
