import TestSupport
import Virtqueue

/// A platform that really bounces: the device sees copies of the driver's buffers, never the buffers. Whoever forgets to unshare gets
/// nothing back, and everything is counted.
final class BouncingHAL: DriverHAL {
    typealias Transport = FakeTransport

    struct Bounce {
        var buffer: HostRange
        var direction: DMADirection
    }

    /// What the device can reach.
    let memory: TestMemory
    private var freePages: [Range<Int>]
    /// By device address.
    private(set) var bounces: [UInt64: Bounce] = [:]
    private(set) var pages: [UInt64: (count: Int, direction: DMADirection)] = [:]
    /// What nobody may do.
    private(set) var misdeeds: [String] = []
    /// In order: what was allocated, shared and so on. The transport writes here, too.
    var events: [String] = []
    var keepsEvents = true
    /// How many more calls succeed.
    var sharesLeft = Int.max
    var allocationsLeft = Int.max
    /// Added to what is allocated: memory that is not as the contract says.
    var misalignment: UInt64 = 0
    /// What happens between two looks of a driver that waits; false gives up.
    var onWait: (UInt64) -> Bool = { _ in false }
    private var bounceSlots: [UInt64] = []

    /// The largest buffer that can be shared.
    static let bounceSize = 512

    init(pages count: Int = 64, bounces: Int = 256) {
        memory = TestMemory(count: count * dmaPageSize + bounces * Self.bounceSize)
        freePages = [0..<count]
        let first = TestMemory.address + UInt64(count * dmaPageSize)
        bounceSlots = (0..<bounces).map { first + UInt64($0 * Self.bounceSize) }
    }

    /// Nothing is shared and nothing allocated, and nobody did what is not allowed.
    var isClean: Bool { bounces.isEmpty && pages.isEmpty && misdeeds.isEmpty }
    var state: String { "\(bounces.count) shared, \(pages.count) allocated, \(misdeeds)" }

    private func note(_ event: String) {
        if keepsEvents { events.append(event) }
    }

    func allocate(pages count: Int, _ direction: DMADirection) -> DMAMemory? {
        guard allocationsLeft > 0, let index = freePages.firstIndex(where: { $0.count >= count }) else { return nil }
        allocationsLeft -= 1
        let first = freePages[index].lowerBound
        freePages[index] = first + count..<freePages[index].upperBound
        let offset = first * dmaPageSize
        let range = memory.all.slice(from: offset, count: count * dmaPageSize)
        range.fill(0)
        let address = TestMemory.address + UInt64(offset)
        pages[address] = (count, direction)
        note("allocate \(direction)")
        return DMAMemory(range, address: address + misalignment)
    }

    func deallocate(_ memory: DMAMemory, _ direction: DMADirection) {
        guard let known = pages.removeValue(forKey: memory.address - misalignment), known.direction == direction,
            known.count * dmaPageSize == memory.range.count
        else {
            misdeeds.append("deallocated \(memory.address) \(direction)")
            return
        }
        memory.range.fill(0xdd)
        let first = Int(memory.address - misalignment - TestMemory.address) / dmaPageSize
        freePages.append(first..<first + known.count)
        note("deallocate \(direction)")
    }

    func share(_ buffer: HostRange, _ direction: DMADirection) -> UInt64? {
        guard sharesLeft > 0, buffer.count <= Self.bounceSize, let address = bounceSlots.popLast() else { return nil }
        if buffer.count == 0 || direction == .both { misdeeds.append("shared \(buffer.count) bytes \(direction)") }
        sharesLeft -= 1
        let copy = bounce(address)
        copy.fill(0xbb)
        if direction == .toDevice { move(from: buffer, to: copy, count: buffer.count) }
        bounces[address] = Bounce(buffer: buffer, direction: direction)
        note("share")
        return address
    }

    func unshare(_ address: UInt64, _ buffer: HostRange, _ direction: DMADirection) {
        guard let known = bounces.removeValue(forKey: address), unsafe known.buffer.base == buffer.base, known.buffer.count == buffer.count,
            known.direction == direction
        else {
            misdeeds.append("unshared \(address), \(buffer.count) bytes \(direction)")
            return
        }
        let copy = bounce(address)
        if direction == .fromDevice { move(from: copy, to: buffer, count: buffer.count) }
        copy.fill(0xcc)
        bounceSlots.append(address)
        note("unshare")
    }

    func wait(_ round: UInt64) -> Bool { onWait(round) }

    private func bounce(_ address: UInt64) -> HostRange {
        memory.all.slice(from: Int(address - TestMemory.address), count: Self.bounceSize)
    }

    private func move(from source: HostRange, to target: HostRange, count: Int) {
        for index in 0..<count { target.store(source.load(at: index, as: UInt8.self) ?? 0, at: index) }
    }
}

/// A device's registers, as far as a driver's transport shows them, with a device of one queue behind them.
final class FakeTransport: DriverTransport {
    let hal: BouncingHAL
    let ring: RingFeatures
    let deviceType: UInt16 = 2
    var deviceFeatures: UInt64 = 1 << 32
    var driverFeatures: UInt64 = 0
    /// Bits that the device never lets a driver set.
    var refusedStatus: UInt8 = 0
    var statusWrites: [UInt8] = []
    private var statusValue: UInt8 = 0
    var takesQueues = true
    var maximum: UInt16 = 256
    /// The queue that the driver has set.
    var queue: QueueConfiguration?
    var device: DeviceQueue<TestMemory>?
    var chain = ChainBuffer(capacity: 64)
    var notifications = 0
    var space: [UInt8] = Array(0..<16)
    var generations: [UInt32] = []
    var causes: UInt8 = 0

    init(_ hal: BouncingHAL, _ ring: RingFeatures) {
        self.hal = hal
        self.ring = ring
    }

    var status: UInt8 {
        get { statusValue }
        set {
            statusWrites.append(newValue)
            statusValue = newValue & ~refusedStatus
        }
    }

    func setDriverFeatures(_ features: UInt64) { driverFeatures = features }
    func maxQueueSize(_ queue: UInt16) -> UInt16 { queue == 0 ? maximum : 0 }
    func isQueueUsed(_ queue: UInt16) -> Bool { self.queue != nil }

    func setQueue(_ index: UInt16, _ configuration: QueueConfiguration) -> Bool {
        guard takesQueues, let device = try? DeviceQueue(configuration, features: ring, memory: hal.memory) else { return false }
        hal.events.append("set")
        queue = configuration
        self.device = consume device
        return true
    }

    func unsetQueue(_ index: UInt16) {
        hal.events.append("unset")
        device = nil
        queue = nil
    }

    func notify(_ queue: UInt16) { notifications += 1 }

    func configuration<T: FixedWidthInteger>(at offset: Int, as type: T.Type) -> T {
        (0..<T.bitWidth / 8).reduce(0) { $0 | T(truncatingIfNeeded: space[offset + $1]) << T(8 * $1) }
    }
    func setConfiguration<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        for index in 0..<T.bitWidth / 8 { space[offset + index] = UInt8(truncatingIfNeeded: value >> T(8 * index)) }
    }
    var configurationGeneration: UInt32 { generations.isEmpty ? 0 : generations.removeFirst() }
    func acknowledgeInterrupt() -> UInt8 {
        defer { causes = 0 }
        return causes
    }

    // MARK: The device

    /// Serves up to `limit` chains: answers with the bytes that it reads, each plus one. Returns how many; whether the driver wanted
    /// notifications is counted.
    @discardableResult
    func serve(limit: Int = .max) throws(QueueFault) -> Int {
        var served = 0
        while served < limit, try device?.pop(into: &chain) == true {
            while chain.writableBytes > 0, let byte = chain.readInteger(as: UInt8.self) { chain.writeInteger(byte &+ 1) }
            device?.complete(chain, written: chain.written)
            served += 1
        }
        return served
    }

    /// Shows what was served; whether the driver wants a notification.
    func publish() -> Bool { device?.publish() ?? false }
}

/// The ring features that there are.
let allRingFeatures: [RingFeatures] = [RingFormat.split, .packed].flatMap { format in
    (0..<4).map { RingFeatures(format: format, indirect: $0 & 1 != 0, eventIndex: $0 & 2 != 0) }
}
