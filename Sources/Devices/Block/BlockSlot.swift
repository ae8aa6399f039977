import Virtio
import Virtqueue

/// One request in flight: its buffers and its state. Made once and used again and again.
struct BlockSlot: ~Copyable, Sendable {
    private var chain: ChainBuffer
    private var request = BlockRequest()

    /// Room for chains of up to `chainCapacity` segments.
    init(chainCapacity: Int) { chain = ChainBuffer(capacity: chainCapacity) }

    /// Takes the next chain of a ring; false when there is none.
    mutating func pop(_ ring: inout GuestQueue) throws(QueueFault) -> Bool { try ring.pop(into: &chain) }

    /// Gives the chain back as if it had not been popped.
    func rewind(_ ring: inout GuestQueue) { ring.rewind(chain) }

    /// Looks at the request that was popped.
    mutating func begin(_ backend: BlockBackend, _ features: Features) -> BlockRequest.Beginning {
        request.begin(&chain, backend, features: features)
    }

    /// Does or queues the next step.
    func step<Engine: BlockEngine & ~Copyable>(_ engine: inout Engine, _ backend: BlockBackend, _ token: UInt64) -> Int32? {
        engine.start(request.next(backend), chain, backend, token: token)
    }

    /// Judges the result of a step; nil when there is another one.
    mutating func finish(_ result: Int32, _ backend: BlockBackend) -> BlockStatus? { request.finish(result, &chain, backend) }

    /// Writes the status, counts the request and gives the chain back to the driver, used. Returns how much data the request was about.
    mutating func complete(_ status: BlockStatus, _ ring: inout GuestQueue, _ counters: BlockCounters) -> UInt64 {
        counters.count(request.kind, bytes: request.byteCount, status)
        let written = request.end(status, &chain)
        ring.complete(chain, written: written)
        return request.byteCount
    }
}
