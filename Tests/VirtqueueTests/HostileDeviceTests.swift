import TestSupport
import Testing
import Virtqueue

/// The driver's side against a device that lies: every id, length and index is compared with what the driver knows itself.
@Suite struct HostileDeviceTests {
    /// A driver's queue of size 8 with two chains at the device, tokens in `tokens`: the first can be written 100 bytes, the second none.
    struct Rig: ~Copyable {
        let format: RingFormat
        let layout: TestLayout
        let memory: TestMemory
        var driver: DriverQueue<TestMemory>
        var tokens: [UInt16] = []

        init(_ format: RingFormat, indirect: Bool = false) throws {
            let ring = RingCase(features: RingFeatures(format: format, indirect: indirect, eventIndex: false), size: 8)
            let layout = TestLayout(ring)
            let memory = layout.memory(dataBytes: 4096)
            let tables = indirect ? layout.tables : nil
            var driver = try DriverQueue(layout.configuration, features: ring.features, memory: memory, indirectTables: tables)
            let none: [DriverBuffer] = []
            let some = [DriverBuffer(address: layout.data, count: 60), DriverBuffer(address: layout.data + 64, count: 40)]
            let first = try driver.add(readable: none.span, writable: some.span)
            let second = try driver.add(readable: some.span, writable: none.span)
            _ = driver.publish()
            self.format = format
            self.layout = layout
            self.memory = memory
            self.driver = driver
            tokens = [first, second]
        }

        /// Writes a used entry as the device does: split entry `index` and the index behind it, or the packed slot `index`.
        func use(_ index: UInt64, id: UInt32, written: UInt32, flags: UInt16 = RawRing.avail | RawRing.used | RawRing.write) {
            let area = layout.configuration
            if format == .split {
                memory.store(id, at: area.deviceArea + 4 + 8 * index)
                memory.store(written, at: area.deviceArea + 8 + 8 * index)
                memory.store(UInt16(truncatingIfNeeded: index + 1), at: area.deviceArea + 2)
            } else {
                memory.store(written, at: area.descriptorArea + 16 * index + 8)
                memory.store(UInt16(truncatingIfNeeded: id), at: area.descriptorArea + 16 * index + 12)
                memory.store(flags, at: area.descriptorArea + 16 * index + 14)
            }
        }

        /// What popUsed does; after a fault the queue must not have moved.
        mutating func pop() -> Outcome {
            let free = driver.freeDescriptors
            do throws(DriverFault) {
                guard let used = try driver.popUsed() else { return .nothing }
                return .used(used.token, used.written)
            } catch {
                return driver.freeDescriptors == free && !error.description.isEmpty ? .fault(error) : .leftovers
            }
        }
    }

    enum Outcome: Equatable {
        case used(UInt16, UInt32)
        case nothing
        case fault(DriverFault)
        case leftovers
    }

    static let formats: [RingFormat] = [.split, .packed]

    @Test(arguments: formats, [false, true])
    func honestDevice(_ format: RingFormat, indirect: Bool) throws {
        var rig = try Rig(format, indirect: indirect)
        #expect(rig.driver.freeDescriptors == (indirect ? 6 : 4))
        #expect(rig.pop() == .nothing)
        // The second first; fewer bytes than there is room for are legal (2.7.8.2).
        rig.use(0, id: UInt32(rig.tokens[1]), written: 0)
        #expect(rig.pop() == .used(rig.tokens[1], 0))
        rig.use(format == .split || indirect ? 1 : 2, id: UInt32(rig.tokens[0]), written: 99)
        #expect(rig.pop() == .used(rig.tokens[0], 99))
        #expect(rig.pop() == .nothing)
        #expect(rig.driver.freeDescriptors == 8)
    }

    @Test(arguments: formats)
    func unknownId(_ format: RingFormat) throws {
        let known = try Rig(format).tokens
        let wild: [UInt32] = format == .split ? [8, 9, 0xffff, 0x1_0000, 0x1_0000 + UInt32(known[0]), .max] : [8, 9, 0xffff]
        let free = (0..<8 as Range<UInt32>).filter { !known.contains(UInt16($0)) }
        for id in wild + free {
            var rig = try Rig(format)
            rig.use(0, id: id, written: 0)
            #expect(rig.pop() == .fault(.unknownBuffer(id)), "id \(id) is not with the device")
            // Nothing moved: the right answer is still taken.
            rig.use(0, id: UInt32(rig.tokens[0]), written: 100)
            if format == .packed { #expect(rig.pop() == .used(rig.tokens[0], 100)) }
        }
    }

    @Test(arguments: formats)
    func idTwice(_ format: RingFormat) throws {
        var rig = try Rig(format)
        let id = rig.tokens[0]
        rig.use(0, id: UInt32(id), written: 1)
        #expect(rig.pop() == .used(id, 1))
        rig.use(format == .split ? 1 : 2, id: UInt32(id), written: 1)
        #expect(rig.pop() == .fault(.unknownBuffer(UInt32(id))))
    }

    /// A chain that was added but not published cannot have been used, whatever its descriptors say already.
    @Test(arguments: formats)
    func idBeforeItIsPublished(_ format: RingFormat) throws {
        var rig = try Rig(format)
        let none: [DriverBuffer] = []
        let one = [DriverBuffer(address: rig.layout.data, count: 1)]
        let token = try rig.driver.add(readable: one.span, writable: none.span)
        rig.use(0, id: UInt32(token), written: 0)
        #expect(rig.pop() == .fault(.unknownBuffer(UInt32(token))))
        _ = rig.driver.publish()
        #expect(rig.pop() == .used(token, 0))
    }

    @Test(arguments: formats)
    func lengthBeyondTheBuffer(_ format: RingFormat) throws {
        for written: UInt32 in [101, 0xffff_ffff] {
            var rig = try Rig(format)
            rig.use(0, id: UInt32(rig.tokens[0]), written: written)
            #expect(rig.pop() == .fault(.writtenTooMuch(written, capacity: 100)))
        }
        var rig = try Rig(format)
        rig.use(0, id: UInt32(rig.tokens[1]), written: 1)
        #expect(rig.pop() == .fault(.writtenTooMuch(1, capacity: 0)), "readable buffers cannot be written")
    }

    /// 2.8.5: without WRITE the length is reserved and must be ignored.
    @Test func packedLengthWithoutWrite() throws {
        var rig = try Rig(.packed)
        rig.use(0, id: UInt32(rig.tokens[1]), written: 0xffff_ffff, flags: RawRing.avail | RawRing.used)
        #expect(rig.pop() == .used(rig.tokens[1], 0))
    }

    @Test(arguments: [3, 8, 9, 32768, 65535] as [UInt16])
    func usedIndexJumps(_ index: UInt16) throws {
        var rig = try Rig(.split)
        rig.memory.store(index, at: rig.layout.configuration.deviceArea + 2)
        #expect(rig.pop() == .fault(.usedIndex(index, next: 0)))
    }

    /// 2.8.1: a slot is used when both bits equal the wrap counter; anything else is not, and next to none is in the other round.
    @Test func packedOwnershipBits() throws {
        for flags in [0, RawRing.avail, RawRing.used] {
            var rig = try Rig(.packed)
            rig.use(0, id: UInt32(rig.tokens[0]), written: 0, flags: flags)
            #expect(rig.pop() == .nothing)
        }
    }

    /// Descriptors and tables belong to the driver's private shadow: a device that overwrites all of the ring breaks nothing but data.
    @Test(arguments: formats)
    func overwrittenRing(_ format: RingFormat) throws {
        var rig = try Rig(format)
        let bytes = Int(rig.layout.data - TestMemory.address)
        rig.memory.all.slice(from: 0, count: bytes).fill(0xff)
        for _ in 0..<4 {
            guard case .fault = rig.pop() else {
                Issue.record("garbage was taken for a used chain")
                return
            }
        }
        #expect(rig.driver.freeDescriptors == 4)
    }

    /// Random garbage in everything that the device may write, for many rounds: tokens stay unique, lengths stay inside, nothing leaks.
    @Test(arguments: formats, [false, true])
    func garbage(_ format: RingFormat, indirect: Bool) throws {
        let seed = seed(6000)
        var random = Random(seed: seed)
        var popped = 0
        var faults = 0
        for round in 0..<1500 {
            let size: UInt16 = format == .split ? random.pick([1, 2, 8, 64]) : random.pick([1, 3, 7, 64])
            let ring = RingCase(features: RingFeatures(format: format, indirect: indirect, eventIndex: random.oneIn(2)), size: size)
            let layout = TestLayout(ring)
            let memory = layout.memory(dataBytes: 4096)
            var driver = try DriverQueue(layout.configuration, features: ring.features, memory: memory, indirectTables: layout.tables)
            var held: [UInt16: UInt32] = [:]
            var used = 0
            for _ in 0..<20 {
                let count = random.within(1...3)
                let buffers = (0..<count).map { _ in DriverBuffer(address: random.next(), count: UInt32(random.below(100))) }
                let none: [DriverBuffer] = []
                if let token = try? driver.add(readable: none.span, writable: buffers.span) {
                    try require(held[token] == nil && token < size, "seed \(seed), round \(round): token \(token) given twice")
                    held[token] = buffers.reduce(0) { $0 + $1.count }
                }
                if random.oneIn(2) { _ = driver.publish() }
                for index in 0..<UInt64(size) {
                    if format == .split {
                        let id = random.oneIn(10) ? random.next() : UInt64(random.below(Int(size)))
                        memory.store(UInt32(truncatingIfNeeded: id), at: layout.configuration.deviceArea + 4 + 8 * index)
                        memory.store(UInt32(random.below(120)), at: layout.configuration.deviceArea + 8 + 8 * index)
                    } else if random.oneIn(2) {
                        let at = layout.configuration.descriptorArea + 16 * index
                        memory.store(UInt32(random.below(120)), at: at + 8)
                        memory.store(UInt16(random.below(Int(size) + 1)), at: at + 12)
                        memory.store(random.pick([0x8080, 0x8082, 0, 2, 0x80, 0x8000, 0xffff] as [UInt16]), at: at + 14)
                    }
                }
                if format == .split {
                    let index = random.oneIn(6) ? random.below(65536) : used + random.below(3)
                    memory.store(UInt16(truncatingIfNeeded: index), at: layout.configuration.deviceArea + 2)
                }
                do throws(DriverFault) {
                    while let (token, written) = try driver.popUsed() {
                        guard let capacity = held.removeValue(forKey: token), written <= capacity else {
                            throw DriverFault.noBuffers
                        }
                        popped += 1
                        used += 1
                    }
                } catch {
                    try require(error != .noBuffers, "seed \(seed), round \(round): a token or length that cannot be")
                    faults += 1
                }
                let free = driver.freeDescriptors
                try require(free >= 0 && free <= Int(size) - (indirect ? held.count : 0), "seed \(seed), round \(round): \(free) free")
            }
        }
        #expect(popped > 200 && faults > 200, "\(popped) popped, \(faults) faults")
    }

    // MARK: What the driver itself must not do

    @Test(arguments: formats)
    func badChains(_ format: RingFormat) throws {
        var rig = try Rig(format)
        let none: [DriverBuffer] = []
        let nine = [DriverBuffer](repeating: DriverBuffer(address: 0, count: 0), count: 9)
        let huge = [DriverBuffer](repeating: DriverBuffer(address: 0, count: 0x8000_0000), count: 2)
        let five = [DriverBuffer](repeating: DriverBuffer(address: 0, count: 1), count: 5)
        let cases: [([DriverBuffer], [DriverBuffer], DriverFault)] = [
            (none, none, .noBuffers), (nine, none, .tooManyBuffers(9, limit: 8)), (five, five, .tooManyBuffers(10, limit: 8)),
            (huge, none, .tooManyBytes(1 << 32)), (none, five, .full(needed: 5, free: 4)),
        ]
        for (readable, writable, fault) in cases {
            do throws(DriverFault) {
                _ = try rig.driver.add(readable: readable.span, writable: writable.span)
                Issue.record("\(fault) expected")
            } catch {
                #expect(error == fault)
            }
            #expect(rig.driver.freeDescriptors == 4)
        }
    }
}
