import GuestMemory
import Host
import Machine
import Schema
import Synchronization
import Testing
import Virtio

@testable import VirtualMachine

@Suite("How a machine's devices are stopped")
struct StopTests {
    @Test("All at the same time: one that does not answer keeps none of the others waiting")
    func together() throws {
        let gate = Gate(try (0..<3).map { _ in try EventFD() })
        let devices = (0..<3).map { MeetingDevice($0, gate) }
        let memory = try GuestMemory(ranges: [0..<2 << 20])
        let rehearsal = try Rehearsal(
            map: try AddressMap(memorySize: memory.size, physicalAddressBits: 40), memory: memory,
            devices: devices.map { DevicePlan(id: $0.debugLabel, transport: .pci, device: $0) }, debugExit: false)
        rehearsal.devices.stop()
        #expect(devices.map { $0.hasMet.load(ordering: .relaxed) } == [true, true, true])
    }
}

/// Signalled by each device that is being stopped.
private final class Gate: Sendable {
    let events: [EventFD]
    init(_ events: [EventFD]) { self.events = events }
}

/// A device that stops only when all the others are being stopped as well, or after a long time.
private final class MeetingDevice: VirtioDevice {
    private let number: Int
    private let gate: Gate
    let hasMet = Atomic(false)

    init(_ number: Int, _ gate: Gate) { (self.number, self.gate) = (number, gate) }

    var deviceType: DeviceType { .entropy }
    var debugLabel: String { "device\(number)" }
    var queueMaxSizes: [UInt16] { [16] }
    var features: Features { .ours }
    var keepDescriptors: [Int32] { [] }

    func reset() {
        gate.events[number].signal()
        hasMet.store(gate.events.allSatisfy { $0.waitWithoutDraining(milliseconds: 10_000) }, ordering: .relaxed)
    }

    func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {}
    func activate(_ activation: consuming Activation) {}
    func stopQueue(_ index: Int) -> ActiveQueue? { nil }
    func startQueue(_ queue: consuming ActiveQueue) {}
    func sleep() -> QueueSet? { nil }
    func wake(_ activation: consuming Activation?) {}
    func snapshot() -> JSONValue { [:] }
    func restore(_ state: SavedValue) {}
}
