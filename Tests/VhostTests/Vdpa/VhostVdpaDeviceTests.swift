import GuestMemory
import Host
import Schema
import Testing
import Virtio
import Virtqueue

@testable import Vhost

@Suite("A guest's device that is one of the kernel")
struct VhostVdpaDeviceTests {
    @Test("ACCESS_PLATFORM is between the device and us, and what our rings do not know is not offered")
    func offer() throws {
        let rig = try VdpaRig { $0.features |= 1 << 24 | 1 << 27 | 1 << 34 | 1 << 35 | 1 << 38 | 1 << 40 | 1 << 9 }
        // A disk has no packed rings withheld: it is drained before it stops.
        #expect(rig.device.features == [.version1, .indirectDescriptors, .eventIndex, .ringPacked, Features(bit: 9)])
        try rig.activate()
        #expect(rig.kernel.look { $0.negotiated } == 1 << 32 | 1 << 33)
        #expect(rig.kernel.look { $0.status } == 15)
    }

    @Test("packed rings that cannot be stopped are not offered")
    func packedWithoutSuspension() throws {
        #expect(try !VdpaRig(drains: false) { $0.features |= 1 << 34 }.device.features.contains(.ringPacked))
        let suspendable = try VdpaRig(drains: false) {
            $0.features |= 1 << 34
            $0.backend = .suspend
        }
        #expect(suspendable.device.features.contains(.ringPacked))
    }

    @Test("the device gets rings at guest addresses, the guest's events, and all of RAM in one batch")
    func activation() throws {
        let rig = try VdpaRig { $0.queueTotal = 2 }
        rig.kernel.change { $0.calls = [] }
        try rig.activate()
        let state = rig.kernel.look { ($0.queues, $0.mappings, $0.calls) }
        for index in 0..<2 {
            let configuration = rig.configuration(index)
            let expected = FakeKernel.Queue(
                size: 64, descriptorArea: configuration.descriptorArea, driverArea: configuration.driverArea,
                deviceArea: configuration.deviceArea, base: 0, kick: rig.kicks[index].rawValue,
                call: rig.interrupts.callEvent(index)?.rawValue, error: nil, isEnabled: true)
            #expect(state.0[index] == expected)
        }
        #expect(
            state.1 == [
                FakeKernel.Mapping(first: 0, last: (1 << 20) - 1, addressSpace: 0),
                FakeKernel.Mapping(first: 4 << 20, last: (6 << 20) - 1, addressSpace: 0),
            ])
        // Everything is there before the device may begin (virtio 1.3, 3.1.1).
        #expect(state.2.last { $0.hasPrefix("SET_STATUS") } == "SET_STATUS 15")
        let ready = try #require(state.2.firstIndex(of: "SET_STATUS 15"))
        #expect(state.2[ready...].allSatisfy { !$0.hasPrefix("SET_VRING") && $0 != "MAP" })
        #expect(rig.kicks.allSatisfy { $0.isSignalled })
    }

    @Test("a device of another type, without enough queues, or of an older kind is refused")
    func refusals() throws {
        for (change, sentence) in [
            ({ $0.type = 1 }, "The device is of type net; expected block."),
            ({ $0.features = 1 << 28 }, "The device does not offer VIRTIO_F_VERSION_1, and legacy devices are not driven."),
            ({ $0.largestSize = 100 }, "The device's queues have at most 100 entries; expected a power of two."),
        ] as [((inout FakeKernel.State) -> Void, String)] {
            let error = #expect(throws: VdpaError.self) { _ = try VdpaRig(change) }
            #expect(error?.description == sentence)
        }
        let profile = VdpaProfile(.block, label: "disk", queueCount: 4, queueSize: 256, drains: true)
        let error = #expect(throws: VdpaError.self) { _ = try VhostVdpaDevice(try VhostVdpa(FakeKernel()), profile) }
        #expect(error?.description == "The device has 1 queues; expected at least 4.")
    }

    @Test("RAM that no device of the kernel can reach is refused, and the device forgets its driver")
    func unreachable() throws {
        let alone = try VdpaRig(isShared: false)
        #expect(throws: DeviceError.self) { try alone.activate() }
        #expect(alone.kernel.look { $0.status } == 0)
        let narrow = try VdpaRig { $0.addresses = 0...(5 << 20) }
        let error = #expect(throws: DeviceError.self) { try narrow.activate() }
        #expect(
            error?.description
                == "disk: The device reaches addresses from 0x0 to 0x500000; RAM at 0x400000, 2 MiB, is not among them.")
        #expect(narrow.kernel.look { $0.status } == 0)
        #expect(try narrow.sleep() == nil)
    }

    @Test("a device that does not take the features has no driver")
    func featuresRefused() throws {
        let rig = try VdpaRig { $0.rejected = 1 << 32 }
        let error = #expect(throws: DeviceError.self) { try rig.activate() }
        #expect(error?.description.contains("cannot work with the features") == true)
        #expect(rig.kernel.look { $0.status } == 0)
    }

    @Test("configuration space comes from a copy, which an announcement refreshes; the driver is told")
    func configuration() throws {
        let rig = try VdpaRig()
        try rig.activate()
        #expect(rig.interrupts.configurationChanges == 1)
        _ = rig.interrupts.wait()
        rig.kernel.change { $0.space[3] = 200 }
        var bytes = [UInt8](repeating: 0xee, count: 64)
        func read() {
            var span = bytes.mutableSpan
            rig.device.readConfiguration(at: 0, into: &span)
        }
        read()
        #expect(bytes[3] == 3 && bytes[59] == 59 && bytes[60] == 0)
        rig.device.configurationEvent.signal()
        #expect(rig.interrupts.wait())
        read()
        #expect(bytes[3] == 200)
        #expect(rig.interrupts.configurationChanges == 2)
        rig.kernel.change { $0.status |= 64 }
        rig.device.configurationEvent.signal()
        #expect(rig.interrupts.wait())
        #expect(rig.interrupts.resets == 1)
    }

    @Test("a device that can be suspended is, says where it stands, and goes on from there")
    func suspension() throws {
        let rig = try VdpaRig { $0.backend = [.tableMessages2, .batches, .suspend, .resume] }
        try rig.activate()
        rig.setIndices(0, available: 12, used: 9)
        rig.kernel.change { $0.queues[0].base = 9 }
        let positions = try #require(try rig.sleep())
        #expect(positions == [QueuePosition(available: 9, used: 9)])
        #expect(rig.kernel.look { $0.isSuspended })
        rig.kernel.change { $0.calls = [] }
        try rig.activate(positions)
        #expect(rig.kernel.look { $0.calls }.contains("RESUME"))
        #expect(!rig.kernel.look { $0.calls }.contains { $0.hasPrefix("SET_STATUS") })
        #expect(rig.kicks[0].isSignalled)
    }

    @Test("a device that shall go on elsewhere than it was suspended, or cannot be resumed, is set up anew")
    func suspendedElsewhere() throws {
        for backend: BackendFeatures in [[.suspend, .resume], [.suspend]] {
            let rig = try VdpaRig { $0.backend = backend }
            try rig.activate()
            rig.setIndices(0, available: 9, used: 9)
            rig.kernel.change { $0.queues[0].base = 9 }
            var positions = try #require(try rig.sleep())
            if backend.contains(.resume) { positions[0] = QueuePosition(available: 4, used: 4) }
            try rig.activate(positions)
            let state = rig.kernel.look { ($0.queues[0], $0.status, $0.isSuspended, $0.mappings.count) }
            #expect(state.0.base == UInt32(positions[0].available) && state.0.isEnabled)
            #expect(state.1 == 15 && !state.2 && state.3 == 2)
        }
    }

    @Test("a wake that fails leaves the queues where they stood, for another one", arguments: ["SET_VRING_KICK", "SET_STATUS 15"])
    func failedWake(_ request: String) throws {
        let rig = try VdpaRig()
        let place = QueuePosition(available: 5, used: 5)
        rig.setIndices(0, available: 5, used: 5)
        rig.kernel.change { $0.failures[request] = .inputOutput }
        #expect(throws: DeviceError.self) { try rig.device.wake(try rig.activation([place])) }
        #expect(try rig.sleep() == [place])
        rig.kernel.change { $0.failures = [:] }
        try rig.device.wake(try rig.activation([place]))
        #expect(rig.kernel.look { $0.status } == 15)
        // A driver's activation is another thing: it begins anew.
        try rig.device.reset()
        rig.kernel.change { $0.failures[request] = .inputOutput }
        #expect(throws: DeviceError.self) { try rig.activate() }
        #expect(try rig.sleep() == nil)
    }

    @Test("a suspended device with requests in flight goes on, and the machine stays awake")
    func suspendedInFlight() throws {
        let rig = try VdpaRig(patience: 20) { $0.backend = [.suspend, .resume] }
        try rig.activate()
        rig.setIndices(0, available: 9, used: 7)
        rig.kernel.change { $0.queues[0].base = 9 }
        let error = #expect(throws: DeviceError.self) { _ = try rig.sleep() }
        #expect(error?.description == "disk: The device was suspended with requests of queue 0 in flight.")
        #expect(rig.kernel.look { !$0.isSuspended && $0.status == 15 })
        rig.setIndices(0, available: 9, used: 9)
        #expect(try rig.sleep() != nil)
    }

    @Test("a device that cannot be suspended finishes all that there is, is reset, and set up where it stood")
    func drain() throws {
        let rig = try VdpaRig()
        try rig.activate()
        rig.setIndices(0, available: 9, used: 7)
        let memory = rig.memory
        let area = rig.configuration(0).deviceArea
        // It takes its time.
        let worker = try WorkerThread(name: "device", state: true) { _, _ in
            pause(milliseconds: 30)
            memory.store(UInt16(9), at: area + 2)
        }
        let positions = try #require(try rig.sleep())
        _ = worker.stop()
        #expect(positions == [QueuePosition(available: 9, used: 9)])
        #expect(rig.kernel.look { $0.status } == 0)
        try rig.activate(positions)
        #expect(rig.kernel.look { $0.queues[0].base } == 9)
        #expect(rig.kernel.look { $0.mappings.count } == 2)
    }

    @Test("a device that does not finish keeps running, and the sentence names the queue")
    func stuck() throws {
        let rig = try VdpaRig(patience: 20)
        try rig.activate()
        rig.setIndices(0, available: 9, used: 7)
        let error = #expect(throws: DeviceError.self) { _ = try rig.sleep() }
        #expect(error?.description == "disk: The device does not finish the requests of queue 0.")
        #expect(rig.kernel.look { $0.status } == 15)
    }

    @Test("nobody waits for a driver that breaks its ring, nor for a network's buffers to be filled")
    func brokenDriver() throws {
        let rig = try VdpaRig(patience: 60_000)
        try rig.activate()
        // More than the queue has entries.
        rig.setIndices(0, available: 1000, used: 7)
        #expect(try rig.sleep() == [QueuePosition(available: 7, used: 7)])
        let network = try VdpaRig(drains: false, patience: 60_000)
        try network.activate()
        network.setIndices(0, available: 60, used: 7)
        #expect(try network.sleep() == [QueuePosition(available: 7, used: 7)])
    }

    @Test("a packed ring that is drained stands where the device says")
    func packedDrain() throws {
        let rig = try VdpaRig(packed: true) { $0.features |= 1 << 34 }
        try rig.activate()
        #expect(rig.kernel.look { $0.queues[0].base } == 0x8000_8000)
        let position = QueuePosition(available: 5, availableWrap: true, used: 5, usedWrap: true)
        rig.kernel.change { $0.queues[0].base = position.vringBase(.packed) }
        #expect(try rig.sleep() == [position])
        try rig.activate([position])
        #expect(rig.kernel.look { $0.queues[0].base } == position.vringBase(.packed))
    }

    @Test("a reset forgets the driver; the next one begins at the beginning, in the same RAM")
    func reset() throws {
        let rig = try VdpaRig()
        try rig.activate()
        try rig.device.reset()
        #expect(rig.kernel.look { $0.status } == 0)
        #expect(try rig.sleep() == nil)
        try rig.activate()
        #expect(rig.kernel.look { $0.status == 15 && $0.mappings.count == 2 })
    }

    @Test("a page table that outlives resets is not written again")
    func persistentTable() throws {
        let rig = try VdpaRig { $0.backend = [.tableMessages2, .batches, .persistentTable] }
        try rig.activate()
        try rig.device.reset()
        rig.kernel.change { $0.calls = [] }
        try rig.activate()
        #expect(!rig.kernel.look { $0.calls }.contains { $0 == "MAP" || $0 == "UNMAP" })
    }

    @Test("single queues cannot be stopped or started; there is no state to save, and none is taken")
    func rest() throws {
        let rig = try VdpaRig()
        try rig.activate()
        #expect(throws: DeviceError.self) {
            if try rig.device.stopQueue(0) != nil { Issue.record("queue 0 was stopped") }
        }
        #expect(try rig.device.snapshot() == [:])
        try rig.device.restore(SavedValue([:]))
        #expect(throws: StateError.self) { try rig.device.restore(SavedValue(["size": 1])) }
    }
}
