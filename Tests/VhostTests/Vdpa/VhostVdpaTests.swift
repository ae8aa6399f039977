import Host
import Testing
import Virtio
import Virtqueue

@testable import Vhost

@Suite("A vDPA device of the kernel")
struct VhostVdpaTests {
    private let memory: MemoryMapping

    init() throws { memory = try MemoryMapping(anonymous: 64 << 10) }

    private func kind(_ body: () throws(VdpaError) -> Void) -> VdpaError.Kind? {
        do throws(VdpaError) { try body() } catch { return error.kind }
        return nil
    }

    @Test("it agrees on what both ends know, and owns the device")
    func agreement() throws {
        let kernel = FakeKernel { $0.backend = [.tableMessages2, .batches, .suspend, BackendFeatures(rawValue: 1 << 40)] }
        let vdpa = try VhostVdpa(kernel)
        #expect(vdpa.backendFeatures == [.tableMessages2, .batches, .suspend])
        #expect(kernel.look { $0.agreed } == vdpa.backendFeatures)
        #expect(kernel.look { $0.isOwned })
        #expect(try vdpa.deviceType() == .block)
    }

    @Test("address spaces need messages that name them")
    func spacesNeedMessages() throws {
        let vdpa = try VhostVdpa(FakeKernel { $0.backend = [.addressSpaces, .tableMessages2] }, wanted: [.addressSpaces])
        #expect(vdpa.backendFeatures.isEmpty)
    }

    @Test("what is no vDPA device is told from one")
    func otherFile() throws {
        let node = VdpaNode(try OwnedDescriptor.open("/dev/null", flags: 2))
        let error = #expect(throws: VdpaError.self) { _ = try VhostVdpa(node) }
        #expect(error?.kind == .unsupported)
        #expect(error?.description.hasPrefix("This is no vDPA device") == true)
    }

    @Test("status bits are added, looked at again, and all taken away by a reset (virtio 1.3, 2.1)")
    func status() throws {
        let kernel = FakeKernel { $0.rejected = 1 << 28 }
        let vdpa = try VhostVdpa(kernel)
        try vdpa.addStatus(.acknowledge)
        try vdpa.addStatus(.driver)
        #expect(try vdpa.status() == [.acknowledge, .driver])
        try vdpa.setFeatures([.version1, .accessPlatform, .indirectDescriptors])
        let error = #expect(throws: VdpaError.self) { try vdpa.addStatus(.featuresOK) }
        #expect(error?.kind == .refused)
        try vdpa.reset()
        #expect(try vdpa.status() == [])
        kernel.change { $0.cannotReset = true }
        try vdpa.addStatus(.acknowledge)
        #expect(kind { () throws(VdpaError) in try vdpa.reset() } == .refused)
    }

    @Test("features are negotiated once, and only those that were offered")
    func features() throws {
        let vdpa = try VhostVdpa(FakeKernel())
        try vdpa.addStatus([.acknowledge, .driver])
        #expect(kind { () throws(VdpaError) in try vdpa.setFeatures([.version1, .ringPacked]) } == .outOfRange)
        try vdpa.setFeatures([.version1, .accessPlatform])
        try vdpa.addStatus(.featuresOK)
        #expect(kind { () throws(VdpaError) in try vdpa.setFeatures([.version1, .accessPlatform]) } == .busy)
    }

    @Test("configuration space is read and written inside its bounds")
    func configuration() throws {
        let vdpa = try VhostVdpa(FakeKernel())
        #expect(try vdpa.configurationSize() == 60)
        #expect(try vdpa.configuration(at: 58, count: 2) == [58, 59])
        try vdpa.setConfiguration([7], at: 59)
        #expect(try vdpa.configuration(at: 59, count: 1) == [7])
        #expect(kind { () throws(VdpaError) in _ = try vdpa.configuration(at: 58, count: 3) } == .outOfRange)
        #expect(kind { () throws(VdpaError) in _ = try vdpa.configuration(count: 0) } == .outOfRange)
        #expect(kind { () throws(VdpaError) in try vdpa.setConfiguration([1, 2], at: -1) } == .outOfRange)
    }

    @Test("a queue's position is one word: 16 bits of a split ring, both halves of a packed one")
    func positions() throws {
        let kernel = FakeKernel { $0.features |= 1 << 34 }
        let vdpa = try VhostVdpa(kernel)
        try vdpa.setQueuePosition(0, QueuePosition(available: 0xfffe, used: 0xfffd), .split)
        #expect(kernel.look { $0.queues[0].base } == 0xfffe)
        #expect(try vdpa.queuePosition(0, .split, used: 5) == QueuePosition(available: 0xfffe, used: 5))
        try vdpa.setFeatures([.version1, .accessPlatform, .ringPacked])
        try vdpa.setQueuePosition(0, .initial, .packed)
        #expect(kernel.look { $0.queues[0].base } == 0x8000_8000)
        let position = QueuePosition(available: 3, availableWrap: false, used: 2, usedWrap: true)
        try vdpa.setQueuePosition(0, position, .packed)
        #expect(try vdpa.queuePosition(0, .packed, used: 0) == position)
    }

    @Test("queues that are not there and sizes that cannot be are refused")
    func badQueues() throws {
        let vdpa = try VhostVdpa(FakeKernel())
        #expect(try vdpa.queueCount() == 1)
        #expect(kind { () throws(VdpaError) in try vdpa.setQueueSize(1, 64) } == .outOfRange)
        #expect(kind { () throws(VdpaError) in try vdpa.setQueueSize(-1, 64) } == .outOfRange)
        #expect(kind { () throws(VdpaError) in try vdpa.setQueueSize(0, 65) } == .outOfRange)
        #expect(kind { () throws(VdpaError) in try vdpa.setQueueSize(0, 0) } == .outOfRange)
        let misaligned = kind { () throws(VdpaError) in
            try vdpa.setQueueAddresses(0, descriptorArea: 8, driverArea: 0x1000, deviceArea: 0x2000)
        }
        #expect(misaligned == .outOfRange)
    }

    @Test("a queue is enabled while the device runs only where the kernel can")
    func lateEnable() throws {
        for backend: BackendFeatures in [[], [.enableWhileRunning]] {
            let vdpa = try VhostVdpa(FakeKernel { $0.backend = backend })
            try vdpa.setFeatures([.version1, .accessPlatform])
            try vdpa.addStatus([.acknowledge, .driver, .featuresOK])
            try vdpa.addStatus(.driverOK)
            let kind = kind { () throws(VdpaError) in try vdpa.setEnabled(0) }
            #expect(kind == (backend.isEmpty ? .unsupported : nil))
        }
    }

    @Test("memory is mapped once at an address, and can be mapped again after it was taken away")
    func mapping() throws {
        let kernel = FakeKernel()
        let vdpa = try VhostVdpa(kernel)
        try vdpa.dmaMap(memory.range, at: 0x10_0000)
        #expect(kernel.look { $0.mappings } == [FakeKernel.Mapping(first: 0x10_0000, last: 0x10_ffff, addressSpace: 0)])
        #expect(kind { () throws(VdpaError) in try vdpa.dmaMap(memory.range, at: 0x10_f000) } == .overlap)
        try vdpa.dmaUnmap(at: 0x10_0000, size: 64 << 10)
        try vdpa.dmaUnmap(at: 0x10_0000, size: 64 << 10)
        try vdpa.dmaMap(memory.range, at: 0x10_0000, access: .read)
        #expect(kind { () throws(VdpaError) in try vdpa.dmaMap(memory.range.slice(from: 0, count: 0), at: 0) } == .outOfRange)
        #expect(kind { () throws(VdpaError) in try vdpa.dmaMap(memory.range, at: .max - 4096) } == .outOfRange)
        #expect(kind { () throws(VdpaError) in try vdpa.dmaMap(memory.range, at: 0x20_0000, access: []) } == .outOfRange)
    }

    @Test("an address that the device does not have is named, with those that it has")
    func addresses() throws {
        let vdpa = try VhostVdpa(FakeKernel { $0.addresses = 0x1000...0xffff })
        #expect(try vdpa.addressRange() == 0x1000...0xffff)
        let error = #expect(throws: VdpaError.self) { try vdpa.dmaMap(memory.range, at: 0x8000) }
        #expect(error?.kind == .outOfRange)
        #expect(
            error?.description
                == "The device reaches addresses from 0x1000 to 0xffff; 0x8000 to 0x17fff is not among them.")
    }

    @Test("a limit of locked memory is named, with how to raise it")
    func lockLimit() throws {
        let vdpa = try VhostVdpa(FakeKernel { $0.lockLimit = 4096 })
        let error = #expect(throws: VdpaError.self) { try vdpa.dmaMap(memory.range, at: 0) }
        #expect(error?.kind == .memoryLimit)
        // Where this process has no limit, there is none to name.
        if VdpaNode.memoryLockLimit != nil {
            let text = error?.description ?? ""
            #expect(text.contains("RLIMIT_MEMLOCK") && text.contains("ulimit -l") && text.contains("LimitMEMLOCK="))
        }
    }

    @Test("changes are made in one batch, which ends whatever happens in it")
    func batches() throws {
        let kernel = FakeKernel()
        let vdpa = try VhostVdpa(kernel)
        kernel.change { $0.calls = [] }
        try vdpa.withBatch { () throws(VdpaError) in try vdpa.dmaMap(memory.range, at: 0) }
        #expect(kernel.look { $0.calls } == ["BATCH_BEGIN", "MAP", "BATCH_END"])
        let inner = kind { () throws(VdpaError) in
            try vdpa.withBatch { () throws(VdpaError) in
                try vdpa.withBatch { () throws(VdpaError) in }
            }
        }
        #expect(inner == .busy)
        kernel.change { $0.calls = [] }
        #expect(
            kind { () throws(VdpaError) in try vdpa.withBatch { () throws(VdpaError) in try vdpa.dmaMap(memory.range, at: 0) } } == .overlap
        )
        #expect(kernel.look { $0.calls } == ["BATCH_BEGIN", "MAP", "BATCH_END"])
        try vdpa.withBatch { () throws(VdpaError) in try vdpa.dmaMap(memory.range, at: 0x10_0000) }
    }

    @Test("a kernel without batches gets the changes one by one, and one without address spaces the first form of messages")
    func oldKernel() throws {
        let kernel = FakeKernel { $0.backend = [] }
        let vdpa = try VhostVdpa(kernel)
        kernel.change { $0.calls = [] }
        try vdpa.withBatch { () throws(VdpaError) in try vdpa.dmaMap(memory.range, at: 0) }
        #expect(kernel.look { $0.calls } == ["MAP"])
        #expect(kind { () throws(VdpaError) in try vdpa.dmaMap(memory.range, at: 0, addressSpace: 1) } == .unsupported)
        #expect(kind { () throws(VdpaError) in try vdpa.suspend() } == .unsupported)
        #expect(kind { () throws(VdpaError) in try vdpa.resume() } == .unsupported)
    }

    @Test("the same address is another one in another address space")
    func addressSpaces() throws {
        let kernel = FakeKernel {
            ($0.backend, $0.addressSpaces, $0.queueTotal) = ([.tableMessages2, .addressSpaces], 2, 3)
        }
        let vdpa = try VhostVdpa(kernel)
        #expect(try vdpa.groupCount() == 2)
        #expect(try vdpa.addressSpaceCount() == 2)
        #expect(try vdpa.group(of: 2) == 1)
        try vdpa.setAddressSpace(1, ofGroup: 1)
        try vdpa.dmaMap(memory.range, at: 0)
        try vdpa.dmaMap(memory.range, at: 0, addressSpace: 1)
        #expect(kernel.look { $0.groups } == [1: 1])
        #expect(kind { () throws(VdpaError) in try vdpa.setAddressSpace(2, ofGroup: 1) } == .outOfRange)
    }

    @Test(
        "the kernel's answers are told apart",
        arguments: [
            (Errno.busy, VdpaError.Kind.busy), (.accessDenied, .notPermitted), (.notPermitted, .notPermitted),
            (.invalidArgument, .outOfRange), (.noMemory, .memoryLimit), (.exists, .overlap), (.notSupported, .unsupported),
            (.noDevice, .gone), (.inputOutput, .gone), (.noSpace, .other),
        ])
    func kinds(_ errno: Errno, _ kind: VdpaError.Kind) throws {
        let kernel = FakeKernel()
        let vdpa = try VhostVdpa(kernel)
        kernel.change { $0.failures["GET_STATUS"] = errno }
        let error = #expect(throws: VdpaError.self) { _ = try vdpa.status() }
        #expect(error?.kind == kind)
        #expect(error?.description.hasPrefix("GET_STATUS: \(errno)") == true)
        #expect(error?.description.hasSuffix(".") == true)
    }
}
