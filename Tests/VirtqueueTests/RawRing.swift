import Virtqueue

/// A peer that writes rings byte by byte, with the numbers of the specification and no knowledge of the module: it can break every rule.
struct RawRing: ~Copyable {
    let ring: RingCase
    let layout: TestLayout
    let memory: TestMemory
    var device: DeviceQueue<TestMemory>
    var chain: ChainBuffer

    /// VIRTQ_DESC_F_NEXT, _WRITE, _INDIRECT, _AVAIL, _USED.
    static let next: UInt16 = 1
    static let write: UInt16 = 2
    static let indirect: UInt16 = 4
    static let avail: UInt16 = 1 << 7
    static let used: UInt16 = 1 << 15

    init(_ format: RingFormat, size: UInt16 = 8, indirect: Bool = true, eventIndex: Bool = false, capacity: Int = 64) throws {
        let ring = RingCase(features: RingFeatures(format: format, indirect: indirect, eventIndex: eventIndex), size: size)
        let layout = TestLayout(ring)
        let memory = layout.memory(dataBytes: 64 * 1024)
        let device = try DeviceQueue(layout.configuration, features: ring.features, memory: memory)
        self.ring = ring
        self.layout = layout
        self.memory = memory
        self.device = device
        chain = ChainBuffer(capacity: capacity)
    }

    var data: UInt64 { layout.data }
    /// An address for indirect tables: odd on purpose, as no rule aligns them.
    var table: UInt64 { layout.data + 0x8001 }

    /// A descriptor of the split format: addr, len, flags, next.
    func split(_ index: Int, _ address: UInt64, _ length: UInt32, _ flags: UInt16, next: UInt16 = 0, table: UInt64? = nil) {
        let at = (table ?? layout.configuration.descriptorArea) + UInt64(16 * index)
        memory.store(address, at: at)
        memory.store(length, at: at + 8)
        memory.store(flags, at: at + 12)
        memory.store(next, at: at + 14)
    }

    /// A descriptor of the packed format: addr, len, id, flags. Available in the first round unless `flags` are given completely.
    func packed(_ index: Int, _ address: UInt64, _ length: UInt32, _ flags: UInt16, id: UInt16 = 0, table: UInt64? = nil) {
        let at = (table ?? layout.configuration.descriptorArea) + UInt64(16 * index)
        memory.store(address, at: at)
        memory.store(length, at: at + 8)
        memory.store(id, at: at + 12)
        memory.store(table == nil ? flags | Self.avail : flags, at: at + 14)
    }

    /// Puts heads into the available ring from entry 0 on and sets the index behind them.
    func offer(_ heads: [UInt16]) {
        for (index, head) in heads.enumerated() {
            memory.store(head, at: layout.configuration.driverArea + 4 + 2 * UInt64(index % Int(ring.size)))
        }
        setAvailableIndex(UInt16(truncatingIfNeeded: heads.count))
    }

    func setAvailableIndex(_ index: UInt16) { memory.store(index, at: layout.configuration.driverArea + 2) }

    /// What pop does: a chain, nothing, or a fault. After a fault nothing may be left in the chain, and the queue must not have moved.
    mutating func pop() -> Outcome {
        let before = device.position
        do throws(QueueFault) {
            return try device.pop(into: &chain) ? .chain(chain.readableBytes, chain.writableBytes) : .nothing
        } catch {
            let clean = chain.readableBytes == 0 && chain.writableBytes == 0 && chain.readable.isEmpty && chain.writable.isEmpty
            return clean && device.position == before ? .fault(error) : .leftovers
        }
    }

    enum Outcome: Equatable {
        case chain(_ readable: Int, _ writable: Int)
        case nothing
        case fault(QueueFault)
        /// A fault that left a chain behind or moved the queue.
        case leftovers
    }
}
