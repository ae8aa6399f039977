import Host
import Synchronization
public import Virtqueue

/// The platform of a `VirtQueue` on the host (`DriverHAL`): memory that a transport has shown to its device.
///
/// A buffer in memory that the transport was given is shared where it lies. Any other is copied to a place that the device sees, and back.
public final class TransportHAL: DriverHAL, Sendable {
    /// How a queue reaches its device.
    public typealias Transport = TransportLink

    private struct State: Sendable {
        /// What was made for rings, by its address at the device.
        var blocks: [UInt64: SharedMemory] = [:]
        var translator: IOVATranslator
        /// Which pages of the bounce memory are taken.
        var taken: [Bool]
    }

    private let transport: any VirtioTransport
    private let bounce: SharedMemory
    private let bounceAddress: UInt64
    private let state: Mutex<State>
    private let patience: Int64

    /// Memory of `transport`, with `bouncePages` pages to copy to. A device gets `patience` milliseconds for an answer that somebody waits for.
    public init(_ transport: any VirtioTransport, bouncePages: Int = 256, patience: Int64 = 30_000) throws(DriverError) {
        self.transport = transport
        self.patience = patience
        bounce = try SharedMemory(byteCount: max(bouncePages, 1) * SharedMemory.pageSize)
        bounceAddress = try transport.map(bounce)
        state = Mutex(State(translator: transport.makeTranslator(), taken: Array(repeating: false, count: max(bouncePages, 1))))
    }

    deinit { try? transport.unmap(bounce) }

    /// Buffers that are copied now, in pages: for tests that nothing is left behind.
    public var bouncedPages: Int { state.withLock { state in state.taken.reduce(0) { $0 + ($1 ? 1 : 0) } } }

    /// A memory file for each ring.
    public func allocate(pages: Int, _ direction: DMADirection) -> DMAMemory? {
        do throws(DriverError) {
            let memory = try SharedMemory(byteCount: pages * SharedMemory.pageSize)
            let address = try transport.map(memory)
            state.withLock { $0.blocks[address] = memory }
            return DMAMemory(memory.range, address: address)
        } catch {
            return nil
        }
    }

    /// Takes it away from the device.
    public func deallocate(_ memory: DMAMemory, _ direction: DMADirection) {
        if let block = state.withLock({ $0.blocks.removeValue(forKey: memory.address) }) { try? transport.unmap(block) }
    }

    /// Translates, or copies.
    public func share(_ buffer: HostRange, _ direction: DMADirection) -> UInt64? {
        let pages = (buffer.count + SharedMemory.pageSize - 1) / SharedMemory.pageSize
        let place = state.withLock { state -> (address: UInt64, page: Int?)? in
            if let address = state.translator.translate(buffer) { return (address, nil) }
            guard let page = Self.findRoom(for: pages, in: state.taken) else { return nil }
            for index in page..<page + pages { state.taken[index] = true }
            return (bounceAddress + UInt64(page * SharedMemory.pageSize), page)
        }
        guard let place else { return nil }
        if let page = place.page {
            let copy = bounce.range.slice(from: page * SharedMemory.pageSize, count: buffer.count)
            if direction != .fromDevice { copy.copy(from: buffer) }
        }
        return place.address
    }

    private static func findRoom(for pages: Int, in taken: [Bool]) -> Int? {
        var free = 0
        for index in taken.indices {
            free = taken[index] ? 0 : free + 1
            if free == pages { return index + 1 - pages }
        }
        return nil
    }

    /// Copies back, if it was copied.
    public func unshare(_ address: UInt64, _ buffer: HostRange, _ direction: DMADirection) {
        guard address >= bounceAddress, address - bounceAddress < UInt64(bounce.count) else { return }
        let offset = Int(address - bounceAddress)
        if direction != .toDevice { buffer.copy(from: bounce.range.slice(from: offset, count: buffer.count)) }
        let first = offset / SharedMemory.pageSize
        let pages = (buffer.count + SharedMemory.pageSize - 1) / SharedMemory.pageSize
        state.withLock { state in
            for index in first..<min(first + pages, state.taken.count) { state.taken[index] = false }
        }
    }

    /// Waits for the first queue's notification, a millisecond at a time: whoever has other queues in flight looks at them himself.
    public func wait(_ round: UInt64) -> Bool {
        do throws(DriverError) {
            if try transport.completionEvent(0).wait(timeoutMilliseconds: 1) { return true }
            try transport.checkDevice()
        } catch {
            return false
        }
        return Int64(clamping: round) < patience
    }
}
