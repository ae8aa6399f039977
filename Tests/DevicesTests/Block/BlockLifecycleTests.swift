import GuestMemory
import Host
import Schema
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Block device: lifecycle")
struct BlockLifecycleTests {
    typealias Variant = BlockHarness.Variant
    typealias Kind = BlockHarness.Kind

    static let size = 4 << 20

    /// Sends writes that each fill a block of their own with its number, without waiting.
    private func sendWrites(_ disk: BlockHarness, _ count: Int, kick: Bool = true) throws -> [BlockHarness.Request] {
        let requests = try (0..<count).map {
            try disk.send(Kind.write, sector: UInt64($0 * 8), output: [UInt8](repeating: UInt8($0 + 1), count: 4096), kick: false)
        }
        if kick { disk.harness.kick() }
        return requests
    }

    private func checkWrites(_ disk: BlockHarness, _ count: Int) throws {
        for block in 0..<count {
            #expect(try disk.stored(at: block * 4096, count: 4096) == [UInt8](repeating: UInt8(block + 1), count: 4096))
        }
    }

    @Test("Sleep leaves nothing in flight, loses nothing, and wake goes on", arguments: Variant.all)
    func sleepWithRequestsInFlight(_ variant: Variant) throws {
        for round in 0..<10 {
            let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
            let requests = try sendWrites(disk, 60)
            try disk.harness.sleep()
            let resting = try #require(disk.harness.restingPosition(queue: 0))
            #expect(resting.inFlight == 0, "round \(round)")
            try disk.harness.wake()
            for request in requests { #expect(try disk.finish(request).status == BlockHarness.ok) }
            try checkWrites(disk, 60)
        }
    }

    @Test("A doorbell rung while asleep is not lost", arguments: Variant.all)
    func doorbellWhileAsleep(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
        try disk.harness.sleep()
        let requests = try sendWrites(disk, 10, kick: false)
        // Published, but the doorbell's eventfd is never signalled.
        disk.harness.publish()
        try disk.harness.wake()
        for request in requests { #expect(try disk.finish(request).status == BlockHarness.ok) }
    }

    @Test("Snapshot and restore into a new device continue with requests in the ring", arguments: Variant.all)
    func snapshotAndRestore(_ variant: Variant) throws {
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
        disk.harness.setConfiguration([0], at: 32)
        let requests = try sendWrites(disk, 60)
        try disk.harness.sleep()
        let state = disk.device.snapshot()
        #expect(
            state == [
                "capacity": .hex(UInt64(Self.size)), "serial": "serial-0123456789", "readOnly": false, "writeback": false,
                "features": .hex(disk.harness.features.rawValue),
            ])
        let other = try BlockHarness.makeDevice(variant, disk.file)
        let wasActive = other.sleep() != nil
        #expect(!wasActive)
        try other.restore(SavedValue(state))
        #expect(other.snapshot() == state)
        try disk.harness.wake(other)
        for request in requests { #expect(try disk.finish(request).status == BlockHarness.ok) }
        #expect(disk.harness.configuration(at: 32, as: UInt8.self) == 0)
        try checkWrites(disk, 60)
    }

    @Test("A state that belongs to another disk, or is damaged, is refused")
    func restoreRefuses() throws {
        let variant = Variant.all[0]
        let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size), activate: false)
        guard case .object(let state) = disk.device.snapshot() else { throw Timeout("an object") }
        let wrong: [(String, JSONValue?)] = [
            ("capacity", .hex(512)), ("capacity", 5), ("capacity", nil), ("serial", "other"), ("serial", nil), ("readOnly", true),
            ("readOnly", "no"), ("writeback", 1), ("writeback", nil), ("features", "0xffffffffffffffff"), ("features", "12"),
            ("more", true),
        ]
        for (name, value) in wrong {
            var damaged = state
            damaged[name] = value
            let device = try BlockHarness.makeDevice(variant, disk.file)
            let error = #expect(throws: StateError.self) { try device.restore(SavedValue(.object(damaged), path: "device")) }
            #expect(error?.path == "device.\(name)")
        }
        #expect(throws: StateError.self) { try disk.device.restore(SavedValue([])) }
        try disk.device.restore(SavedValue(.object(state)))
    }

    @Test("2.4.2 after a reset with I/O in flight, guest memory is not written any more", arguments: Variant.all)
    func resetWithRequestsInFlight(_ variant: Variant) throws {
        for _ in 0..<10 {
            let disk = try BlockHarness(variant, file: temporaryFile(size: Self.size))
            let requests = try (0..<60).map { try disk.send(Kind.read, sector: UInt64($0 * 64), input: 32768, kick: $0 == 59) }
            try disk.harness.reset()
            for request in requests { disk.harness.memory.write([UInt8](repeating: 0x77, count: 32769 + 16), at: request.data) }
            for request in requests {
                #expect(disk.harness.bytes(at: request.data, count: 32768) == [UInt8](repeating: 0x77, count: 32768))
            }
            disk.harness.releaseBuffers()
            try disk.harness.activate()
            #expect(try disk.status(Kind.flush) == BlockHarness.ok)
        }
    }

    @Test("2.6.1 a queue can be stopped and started while the others go on", arguments: Variant.all, [1, 3])
    func stopAndStartQueue(_ variant: Variant, workers: Int) throws {
        let disk = try BlockHarness(
            variant, file: temporaryFile(size: Self.size),
            configure: {
                $0.queues = 3
                $0.workers = workers
            })
        #expect(disk.harness.configuration(at: 34, as: UInt16.self) == 3)
        for queue in 0..<3 { #expect(try disk.read(sector: 0, count: 512, queue: queue) != nil) }
        #expect(try disk.harness.stopQueue(1))
        #expect(try !disk.harness.stopQueue(1))
        #expect(try !disk.harness.stopQueue(9))
        #expect(try disk.read(sector: 0, count: 512, queue: 0) != nil)
        #expect(try disk.read(sector: 0, count: 512, queue: 2) != nil)
        try disk.harness.startQueue(1)
        #expect(throws: DeviceError.self) { try disk.harness.startQueue(1) }
        #expect(try disk.read(sector: 0, count: 512, queue: 1) != nil)
        for _ in 0..<10 {
            let requests = try sendWrites(disk, 30)
            #expect(try disk.harness.bounceQueue(0))
            for request in requests { #expect(try disk.finish(request).status == BlockHarness.ok) }
            disk.harness.releaseBuffers()
        }
    }

    @Test("Sleep, wake, reset and stopped queues before activation do no harm")
    func inactive() throws {
        let disk = try BlockHarness(Variant.all[0], file: temporaryFile(size: Self.size), activate: false)
        #expect(try !disk.harness.sleep())
        try disk.harness.wake()
        #expect(try !disk.harness.stopQueue(0))
        #expect(throws: DeviceError.self) { try disk.harness.startQueue(0) }
        try disk.harness.reset()
        try disk.harness.activate()
        #expect(throws: DeviceError.self) { try disk.harness.activate() }
        #expect(try disk.status(Kind.flush) == BlockHarness.ok)
    }

    @Test("5.2.6.2 a resize changes the capacity and is announced")
    func resize() throws {
        let disk = try BlockHarness(Variant.all[0], file: temporaryFile(size: Self.size))
        try disk.file.resize(to: UInt64(Self.size * 2))
        #expect(disk.harness.configuration(at: 0, as: UInt64.self) == UInt64(Self.size / 512))
        try disk.device.controlNotify(["capacity": true])
        #expect(disk.harness.configuration(at: 0, as: UInt64.self) == UInt64(Self.size * 2 / 512))
        #expect(disk.harness.interrupts.configurationChanges == 1)
        #expect(try disk.read(sector: UInt64(Self.size / 512), count: 4096) == [UInt8](repeating: 0, count: 4096))
        try disk.harness.sleep()
        try disk.device.controlNotify(["capacity": .integer(Int64(Self.size))])
        #expect(disk.harness.interrupts.configurationChanges == 1)
        try disk.harness.wake()
        #expect(disk.harness.interrupts.configurationChanges == 2)
        #expect(try disk.status(Kind.read, sector: UInt64(Self.size / 512), input: 512) == BlockHarness.ioError)
        let wrongs: [JSONValue] = [
            ["capacity": 100], ["capacity": 1_099_511_627_776], ["capacity": -512], ["capacity": false], [:], 7, ["size": 512],
        ]
        for wrong in wrongs {
            #expect(throws: DeviceError.self) { try disk.device.controlNotify(wrong) }
        }
    }
}
