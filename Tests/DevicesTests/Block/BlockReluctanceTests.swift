import Host
import Synchronization
import Testing
import Virtio
import Virtqueue

@testable import Devices

/// A kernel that cannot take a submission now is asked again: no request is lost, and none is left in flight.
@Suite("Block requests that the kernel cannot take yet")
struct BlockReluctanceTests {
    /// A read of the first sector.
    private func read(_ harness: DeviceHarness) throws -> (token: UInt16, status: UInt64) {
        let header = harness.place([UInt8](repeating: 0, count: 16))
        let data = harness.allocate(512)
        let status = harness.place([0xaa])
        let token = try #require(
            try harness.submit(
                readable: [DriverBuffer(address: header, count: 16)],
                writable: [DriverBuffer(address: data, count: 512), DriverBuffer(address: status, count: 1)]))
        return (token, status)
    }

    @Test("EAGAIN and EBUSY of a submission do not end the worker")
    func goesOn() throws {
        let disk = try ReluctantDisk(try temporaryFile(size: 4096))
        disk.reluctance.refusals.store(5, ordering: .sequentiallyConsistent)
        let harness = try DeviceHarness(disk)
        try harness.activate()
        for _ in 0..<3 {
            let request = try read(harness)
            #expect(try harness.wait(request.token) == 513)
            #expect(harness.bytes(at: request.status, count: 1) == [0])
            disk.reluctance.refusals.store(4, ordering: .sequentiallyConsistent)
        }
        #expect(!harness.interrupts.needsReset)
    }

    @Test("A device does not stop before its requests are finished, however often the kernel refuses")
    func finishes() throws {
        let disk = try ReluctantDisk(try temporaryFile(size: 4096))
        disk.reluctance.isSlow.store(true, ordering: .sequentiallyConsistent)
        let harness = try DeviceHarness(disk)
        try harness.activate()
        let request = try read(harness)
        try harness.wait(for: "a request that has begun") { disk.reluctance.begun.load(ordering: .sequentiallyConsistent) == 1 }
        disk.reluctance.refusals.store(7, ordering: .sequentiallyConsistent)
        #expect(try harness.sleep())
        #expect(try harness.poll(request.token) == 513)
        #expect(harness.restingPosition(queue: 0)?.inFlight == 0)
        #expect(!harness.interrupts.needsReset)
    }
}
