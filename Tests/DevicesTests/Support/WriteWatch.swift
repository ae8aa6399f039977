import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

/// Compares what a device has written to a harness's memory with what was noted of it.
struct WriteWatch {
    private let harness: DeviceHarness
    private let shadow: MemoryMapping
    /// Pages of rings that a device writes.
    private let rings: Set<Int>

    /// From now on. The harness was made with `tracksWrites`; its device is active.
    init(_ harness: DeviceHarness) throws {
        self.harness = harness
        shadow = try MemoryMapping(anonymous: Int(harness.memory.size))
        let format = harness.features.ring.format
        var rings: Set<Int> = []
        for index in 0..<harness.queueCount {
            let configuration = harness.queueConfiguration(index)
            var areas = [(RingArea.device, configuration.deviceArea)]
            if format == .packed { areas.append((.descriptor, configuration.descriptorArea)) }
            for (area, address) in areas { rings.formUnion(Self.pages(address, format.byteCount(of: area, size: configuration.size))) }
        }
        self.rings = rings
        try begin()
    }

    /// The pages of `count` bytes.
    static func pages(_ address: UInt64, _ count: Int) -> Set<Int> { Set(Int(address) / 4096...(Int(address) + count - 1) / 4096) }

    /// What was written until now does not count.
    func begin() throws {
        try harness.sleep()
        _ = harness.memory.takeWritten()
        _ = try changed()
        try harness.wake()
    }

    /// Pages that have changed since the last call.
    private func changed() throws -> Set<Int> {
        var changed: Set<Int> = []
        for page in 0..<harness.memory.pageCount {
            let new = try #require(harness.memory.range(of: MemoryExtent(firstPage: page, pageCount: 1)))
            let old = shadow.range.slice(from: page * 4096, count: 4096)
            guard !new.hasSameBytes(as: old) else { continue }
            changed.insert(page)
            let bytes = try #require(harness.memory.read(at: UInt64(page) * 4096, count: 4096))
            old.copy(from: bytes.span)
        }
        return changed
    }

    /// Puts the device to sleep and expects that these pages were noted, and of rings what was written; then it wakes. `others` may be
    /// noted or not.
    func expect(_ buffers: Set<Int>, orAlso others: Set<Int> = [], _ comment: String) throws {
        try harness.sleep()
        let taken = harness.memory.takeWritten()
        let noted = Set((0..<harness.memory.pageCount).filter { taken.contains($0) })
        let written = try changed()
        #expect(noted.subtracting(rings).subtracting(others) == buffers, "\(comment)")
        #expect(written.subtracting(noted).isSubset(of: driverPages), "\(comment)")
        #expect(!noted.intersection(rings).isEmpty, "\(comment)")
        try harness.wake()
    }

    /// Pages of rings and indirect tables that only drivers write.
    private var driverPages: Set<Int> { Set(0..<Int(harness.firstBuffer / 4096)).subtracting(rings) }
}
