import Testing
import Virtio
import Virtqueue

@testable import Devices

/// The control queue outlives a data path that fails.
@Suite("Network devices whose data path fails")
struct NetworkFailureTests {
    private static let address = MACAddress(value: 0x5254_0000_0001)

    private func make() throws -> (NetworkHarness, FailingDataPath) {
        let path = FailingDataPath()
        let device = try NetworkDevice(NetworkHarness.configuration(), dataPath: path, queuePairs: 1)
        return (try NetworkHarness(device), path)
    }

    @Test("After a sleep that failed the control queue goes on")
    func sleepFails() throws {
        let (net, path) = try make()
        path.setSleepFails(true)
        #expect(throws: DeviceError.self) { try net.harness.sleep() }
        #expect(try net.command([1, 1] + Self.address.bytes) == 0)
        path.setSleepFails(false)
        #expect(try net.harness.sleep())
        for queue in 0..<3 { #expect(net.harness.restingPosition(queue: queue) != nil, "queue \(queue)") }
        try net.harness.wake()
        #expect(try net.command([1, 1] + NetworkHarness.mac.bytes) == 0)
    }

    @Test("After a wake that failed sleep gives all queues back, and another wake uses them")
    func wakeFails() throws {
        let (net, path) = try make()
        #expect(try net.command([1, 1] + Self.address.bytes) == 0)
        #expect(try net.harness.sleep())
        path.setActivationFails(true)
        #expect(throws: DeviceError.self) { try net.harness.wake() }
        #expect(try net.harness.sleep())
        for queue in 0..<3 { #expect(net.harness.restingPosition(queue: queue) != nil, "queue \(queue)") }
        path.setActivationFails(false)
        try net.harness.wake()
        #expect(try net.command([1, 1] + NetworkHarness.mac.bytes) == 0)
    }

    @Test("A command waits while the data path could not be woken")
    func commandWaits() throws {
        let (net, path) = try make()
        #expect(try net.harness.sleep())
        let queue = net.controlQueue
        let request = net.harness.place([1, 1] + Self.address.bytes)
        let ack = net.harness.place([0xaa])
        let token = try #require(
            try net.harness.submit(
                queue: queue, readable: [.init(address: request, count: 8)], writable: [.init(address: ack, count: 1)]))
        path.setActivationFails(true)
        #expect(throws: DeviceError.self) { try net.harness.wake() }
        #expect(try net.harness.sleep())
        #expect(try net.harness.poll(queue: queue, token) == nil)
        path.setActivationFails(false)
        try net.harness.wake()
        #expect(try net.harness.wait(queue: queue, token) == 1)
        #expect(net.harness.bytes(at: ack, count: 1) == [0])
    }
}
