import Host
import TestSupport
import Testing
import Virtio
import Virtqueue

@testable import VirtioDriver

/// A driver believes nothing that a device writes.
@Suite("Block driver of a hostile device")
struct HostileDeviceTests {
    private final class Rig {
        let device = HostileDevice()
        let transport: LoopbackTransport
        let driver: BlockDriver
        let memory: SharedMemory

        init(packed: Bool) throws {
            var wanted: Features = [.version1, .indirectDescriptors]
            if packed { wanted.insert(.ringPacked) }
            transport = try LoopbackTransport(device, wanted: wanted)
            driver = try BlockDriver(transport, queueSize: 16)
            memory = try driver.makeMemory(byteCount: 4096)
        }

        /// The queue with reads in flight, whose contexts count from 100.
        func queue(_ count: Int) throws -> BlockQueue {
            var queue = try driver.takeQueue()
            for index in 0..<count {
                try queue.read(at: 0, into: memory.range.slice(from: 512 * index, count: 512), context: UInt64(100 + index))
            }
            queue.submit()
            return queue
        }
    }

    /// What a test does to the used ring, and what becomes of it.
    struct Misdeed: Sendable, CustomStringConvertible {
        let description: String
        let fault: DriverFault?
        let act: @Sendable (HostileDevice) -> Void

        init(_ description: String, _ fault: DriverFault?, _ act: @escaping @Sendable (HostileDevice) -> Void) {
            self.description = description
            self.fault = fault
            self.act = act
        }
    }

    static let split: [Misdeed] = [
        Misdeed("a used index far ahead", .usedIndex(1000, next: 0)) { $0.use(0, length: 0, at: 0, publish: 1000) },
        Misdeed("a used index behind", .usedIndex(0xffff, next: 0)) { $0.use(0, length: 0, at: 0, publish: 0xffff) },
        Misdeed("an id beyond the queue", .unknownBuffer(16)) { $0.use(16, length: 0, at: 0, publish: 1) },
        Misdeed("an id beyond all queues", .unknownBuffer(.max)) { $0.use(.max, length: 0, at: 0, publish: 1) },
        Misdeed("an id that is not in flight", .unknownBuffer(9)) { $0.use(9, length: 0, at: 0, publish: 1) },
        Misdeed("a length beyond the buffers", .writtenTooMuch(514, capacity: 513)) {
            $0.use(UInt32($0.head(0)), length: 514, at: 0, publish: 1)
        },
        Misdeed("an id twice", .unknownBuffer(0)) {
            let head = $0.head(0)
            $0.use(UInt32(head), length: 1, at: 0, publish: 1)
            $0.use(UInt32(head), length: 1, at: 1, publish: 2)
        },
    ]

    static let packed: [Misdeed] = [
        Misdeed("an id beyond the queue", .unknownBuffer(16)) { $0.usePacked(0, id: 16, length: 0) },
        Misdeed("an id that is not in flight", .unknownBuffer(9)) { $0.usePacked(0, id: 9, length: 0) },
        Misdeed("a length beyond the buffers", .writtenTooMuch(514, capacity: 513)) { $0.usePacked(0, id: $0.packedID(0), length: 514) },
        Misdeed("an id twice", .unknownBuffer(0)) {
            let id = $0.packedID(0)
            $0.usePacked(0, id: id, length: 1)
            $0.usePacked(1, id: id, length: 1)
        },
    ]

    @Test("virtio 1.3, 2.7.8: a used ring that lies ends the queue, and nothing is lost or given twice", arguments: split)
    func splitRing(_ misdeed: Misdeed) throws { try run(misdeed, packed: false) }

    @Test("virtio 1.3, 2.8: a descriptor ring that lies ends the queue, and nothing is lost or given twice", arguments: packed)
    func packedRing(_ misdeed: Misdeed) throws { try run(misdeed, packed: true) }

    private func run(_ misdeed: Misdeed, packed: Bool) throws {
        let rig = try Rig(packed: packed)
        var queue = try rig.queue(2)
        misdeed.act(rig.device)
        rig.device.notify()
        var ended: [UInt64] = []
        var fault: DriverError?
        do throws(DriverError) {
            #expect(try queue.wait(milliseconds: 10_000))
            while let completion = try queue.nextCompletion() {
                // Nothing was written to the status.
                #expect(completion.status == .unknown(0xff))
                ended.append(completion.context)
            }
        } catch {
            fault = error
        }
        #expect(fault == misdeed.fault.map { .brokenRing($0) })
        // It stays so.
        if let fault { #expect(throws: fault) { try queue.nextCompletion() } }
        if let fault { #expect(throws: fault) { try queue.read(at: 0, into: rig.memory.range, context: 0) } }
        try rig.transport.reset()
        #expect((ended + queue.abandon()).sorted() == [100, 101])
    }

    @Test("virtio 1.3, 2.1.2: a device that needs a reset is not waited for")
    func needsReset() throws {
        let rig = try Rig(packed: false)
        var queue = try rig.queue(1)
        rig.device.giveUp()
        #expect(throws: DriverError.needsReset) { _ = try queue.wait(milliseconds: 10_000) }
        try rig.transport.reset()
        #expect(queue.abandon() == [100])
    }

    @Test("a device that never answers is waited for as long as one likes")
    func silent() throws {
        let rig = try Rig(packed: false)
        var queue = try rig.queue(1)
        #expect(try !queue.wait(milliseconds: 20))
        #expect(try queue.nextCompletion() == nil)
        #expect(queue.inFlight == 1)
    }

    @Test("whatever a device writes to what it shares, its driver makes values of it", arguments: [false, true])
    func garbage(_ packed: Bool) throws {
        var random = SeededRandom(seed: 3)
        for _ in 0..<300 {
            let rig = try Rig(packed: packed)
            var queue = try rig.queue(8)
            rig.device.scribble(UInt8(random.below(256)))
            if random.oneIn(2), !packed { rig.device.use(UInt32(random.below(20)), length: UInt32(random.below(600)), at: 0, publish: 1) }
            var ended: [UInt64] = []
            do throws(DriverError) {
                while let completion = try queue.nextCompletion() { ended.append(completion.context) }
                try queue.read(at: 0, into: rig.memory.range, context: 500)
                queue.submit()
            } catch {
                // One of its sentences.
                #expect(!error.description.isEmpty)
            }
            try rig.transport.reset()
            let all = (ended + queue.abandon()).filter { $0 != 500 }.sorted()
            #expect(all == (100..<108).map { UInt64($0) })
        }
    }
}
