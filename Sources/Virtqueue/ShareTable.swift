/// What a `VirtQueue` has shared with its device: the buffers of each chain in flight, by its token. Private memory; nothing in it comes
/// from the device.
@safe @usableFromInline
struct ShareTable: ~Copyable {
    @usableFromInline
    struct Buffer {
        @usableFromInline let range: HostRange
        @usableFromInline let address: UInt64
        @inlinable
        init(range: HostRange, address: UInt64) {
            self.range = range
            self.address = address
        }
    }

    @safe @usableFromInline
    struct Chain {
        /// How many buffers are shared, the readable ones first; 0 when the chain is not in flight.
        @usableFromInline var count = 0
        @usableFromInline var readable = 0
        /// The memory of a `BufferChain` that the queue owns.
        @usableFromInline var owned: UnsafeMutableRawPointer?
        @inlinable init() {}
    }

    @usableFromInline let size: Int
    /// The most buffers that a chain may have.
    @usableFromInline let limit: Int
    @usableFromInline let chains: UnsafeMutablePointer<Chain>
    /// `limit` for each token.
    @usableFromInline let buffers: UnsafeMutablePointer<Buffer>
    /// The chain that is being added, as the ring wants it.
    @usableFromInline let descriptors: UnsafeMutablePointer<DriverBuffer>

    @inlinable
    init(size: Int, limit: Int) {
        self.size = size
        self.limit = limit
        unsafe chains = UnsafeMutablePointer<Chain>.allocate(capacity: size)
        unsafe chains.initialize(repeating: Chain(), count: size)
        unsafe buffers = UnsafeMutablePointer<Buffer>.allocate(capacity: size * limit)
        unsafe descriptors = UnsafeMutablePointer<DriverBuffer>.allocate(capacity: limit)
    }

    /// Frees the chains that the queue owned. All must have been unshared before.
    @inlinable
    deinit {
        for token in 0..<size { _ = take(UInt16(truncatingIfNeeded: token)) }
        unsafe descriptors.deallocate()
        unsafe buffers.deallocate()
        unsafe chains.deallocate()
    }

    /// Shares at most `limit` buffers for a token that is below the size and not in flight. After an error none of them is shared.
    @inlinable
    func share<HAL: DriverHAL>(
        _ token: UInt16, readable: Span<HostRange>, writable: Span<HostRange>, with hal: borrowing HAL
    ) throws(VirtQueueError) {
        let count = readable.count + writable.count
        var bytes = 0
        for index in 0..<count {
            let buffer = index < readable.count ? readable[index] : writable[index - readable.count]
            guard buffer.count > 0 else { throw .emptyBuffer(index) }
            let (sum, overflow) = bytes.addingReportingOverflow(buffer.count)
            guard !overflow, sum <= Int(UInt32.max) else { throw .refused(.tooManyBytes(overflow ? .max : sum)) }
            bytes = sum
        }
        let first = Int(token) * limit
        unsafe chains[Int(token)].readable = readable.count
        for index in 0..<count {
            let isWritable = index >= readable.count
            let buffer = isWritable ? writable[index - readable.count] : readable[index]
            guard let address = hal.share(buffer, isWritable ? .fromDevice : .toDevice) else {
                unshare(token, with: hal)
                throw .notShared(index)
            }
            unsafe (buffers + first + index).initialize(to: Buffer(range: buffer, address: address))
            unsafe (descriptors + index).initialize(to: DriverBuffer(address: address, count: UInt32(truncatingIfNeeded: buffer.count)))
            unsafe chains[Int(token)].count = index + 1
        }
    }

    /// Ends the sharing of a chain's buffers; nothing for one that is not in flight.
    @inlinable
    func unshare<HAL: DriverHAL>(_ token: UInt16, with hal: borrowing HAL) {
        let chain = unsafe chains[Int(token)]
        unsafe chains[Int(token)].count = 0
        for index in 0..<chain.count {
            let buffer = unsafe buffers[Int(token) * limit + index]
            hal.unshare(buffer.address, buffer.range, index < chain.readable ? .toDevice : .fromDevice)
        }
    }

    /// Unshares every chain. The device has been stopped.
    @inlinable
    func unshareAll<HAL: DriverHAL>(with hal: borrowing HAL) {
        for token in 0..<size { unshare(UInt16(truncatingIfNeeded: token), with: hal) }
    }

    /// Keeps a chain's memory until `take`.
    @inlinable
    func keep(_ chain: consuming BufferChain, at token: UInt16) { unsafe chains[Int(token)].owned = chain.surrender() }

    /// Gives it back; nil when there is none.
    @inlinable
    func take(_ token: UInt16) -> BufferChain? {
        guard let memory = unsafe chains[Int(token)].owned else { return nil }
        unsafe chains[Int(token)].owned = nil
        return unsafe BufferChain(taking: memory)
    }
}
