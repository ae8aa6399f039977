import CAtomics
import Glibc
import Synchronization
import TestSupport
import Testing
import Virtqueue

/// Rings full of garbage, and rings that change under the reader: never a crash, always a fault or a chain that obeys every rule.
@Suite struct GarbageTests {
    static let formats: [RingFormat] = [.split, .packed]

    /// Random bytes over whole rings and tables, most of them shaped so that they come past the first checks.
    @Test(arguments: formats)
    func randomRings(_ format: RingFormat) throws {
        let seed = seed(5000)
        var random = Random(seed: seed)
        var chains = 0
        var faults = 0
        for round in 0..<3000 {
            let sizes = format == .split ? [1, 2, 4, 8, 64] : [1, 3, 4, 5, 7, 64] as [UInt16]
            var garbage = try Garbage(format, size: random.pick(sizes), random: random, capacity: random.pick([1, 4, 64]))
            do {
                for _ in 0..<8 {
                    garbage.scribble()
                    let (more, broken) = try garbage.drain()
                    chains += more
                    faults += broken
                }
            } catch {
                throw Mismatch("\(format), seed \(seed), round \(round): \(error)")
            }
            random = garbage.random
        }
        // Otherwise the garbage is too bad to test anything.
        #expect(chains > 500 && faults > 500, "\(chains) chains and \(faults) faults")
    }

    /// The driver changes ring and tables while a chain is being read: after each translation, which is between two descriptors.
    @Test(arguments: formats)
    func ringsThatChange(_ format: RingFormat) throws {
        let seed = seed(5100)
        var random = Random(seed: seed)
        var chains = 0
        for round in 0..<1500 {
            var garbage = try Garbage(format, size: random.pick([4, 8, 64]), random: random, capacity: 64)
            let mutator = Mutator(garbage.memory, bytes: Int(garbage.layout.data - TestMemory.address) + 4096, seed: seed &+ UInt64(round))
            garbage.memory.onTranslation = { _, _ in mutator.change() }
            do {
                for _ in 0..<8 {
                    garbage.scribble()
                    chains += try garbage.drain().chains
                }
            } catch {
                throw Mismatch("\(format), seed \(seed), round \(round): \(error)")
            }
            garbage.memory.onTranslation = nil
            random = garbage.random
        }
        #expect(chains > 100, "\(chains) chains")
    }

    /// The same by a second thread, at any instruction.
    @Test(arguments: formats)
    func ringsThatChangeAtAnyTime(_ format: RingFormat) async throws {
        let seed = seed(5200)
        var garbage = try Garbage(format, size: 8, random: Random(seed: seed), capacity: 64)
        let memory = garbage.memory
        let bytes = Int(garbage.layout.data - TestMemory.address) + 4096
        let stop = Flag()
        let peer = Task.detached {
            let mutator = Mutator(memory, bytes: bytes, seed: seed)
            // Bounded, should the flag ever be missed.
            for _ in 0..<20_000_000 where !stop.isSet { mutator.change() }
        }
        for round in 0..<2000 {
            garbage.scribble()
            do {
                _ = try garbage.drain()
            } catch {
                stop.set()
                throw Mismatch("\(format), seed \(seed), round \(round): \(error)")
            }
        }
        stop.set()
        await peer.value
    }

    /// A descriptor that changes between two reads is read once: what was translated is what the chain has (design of `Descriptor`).
    @Test(arguments: formats)
    func copiedOnce(_ format: RingFormat) throws {
        for indirect in [false, true] {
            var ring = try RawRing(format)
            let table = indirect ? ring.table : nil
            if format == .split {
                if indirect { ring.split(0, ring.table, 32, RawRing.indirect) }
                ring.split(0, ring.data, 8, RawRing.next, next: 1, table: table)
                ring.split(1, ring.data + 8, 8, RawRing.write, table: table)
                ring.offer([0])
            } else {
                if indirect { ring.packed(0, ring.table, 32, RawRing.indirect, id: 1) }
                ring.packed(0, ring.data, 8, indirect ? 0 : RawRing.next, id: 1, table: table)
                ring.packed(1, ring.data + 8, 8, RawRing.write, id: 1, table: table)
            }
            let (memory, data) = (ring.memory, ring.data)
            let descriptors = table ?? ring.layout.configuration.descriptorArea
            memory.onTranslation = { address, count in
                // As soon as a buffer was translated, its descriptor says something else: elsewhere, longer, with other flags.
                guard count == 8, address >= data else { return }
                let at = descriptors + 16 * (address - data) / 8
                memory.store(UInt64.max, at: at)
                memory.store(UInt64.max, at: at + 8)
            }
            #expect(ring.pop() == .chain(8, 8), "\(format), indirect \(indirect)")
            memory.onTranslation = nil
            #expect(ring.memory.offset(of: ring.chain.readable[0]) == Int(data - TestMemory.address))
            #expect(ring.chain.readable[0].count == 8 && ring.chain.writable[0].count == 8)
        }
    }
}

/// A flag between two threads.
final class Flag: Sendable {
    private let value = Atomic(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
}

/// Changes words of the rings without end: single bits, whole words, words copied from elsewhere.
@safe
final class Mutator {
    private let memory: TestMemory
    private let words: Int
    private var random: Random

    init(_ memory: TestMemory, bytes: Int, seed: UInt64) {
        self.memory = memory
        words = bytes / 8
        random = Random(seed: seed)
    }

    func change() {
        let word = unsafe memory.base + 8 * random.below(words)
        let value = unsafe swv_load_u64(word)
        switch random.below(4) {
        case 0: unsafe swv_store_u64(word, value ^ 1 << UInt64(random.below(64)))
        case 1: unsafe swv_store_u64(word, random.next())
        case 2: unsafe swv_store_u64(word, unsafe swv_load_u64(memory.base + 8 * random.below(words)))
        default: unsafe swv_store_u64(word, value &+ 0x1_0000)
        }
    }
}

/// A device on a ring that a hostile driver scribbles on, and checks of everything that the device is given.
struct Garbage: ~Copyable {
    let ring: RingCase
    let layout: TestLayout
    let memory: TestMemory
    var device: DeviceQueue<TestMemory>
    var random: Random
    /// The chain that is done with at once, and those that are held for longer.
    let own: LoopbackModel.Held
    var held: [LoopbackModel.Held] = []

    init(_ format: RingFormat, size: UInt16, random: Random, capacity: Int) throws {
        var random = random
        let features = RingFeatures(format: format, indirect: !random.oneIn(4), eventIndex: random.oneIn(2))
        let ring = RingCase(features: features, size: size)
        let layout = TestLayout(ring)
        let memory = layout.memory(dataBytes: 8192)
        let position = random.oneIn(2) ? QueuePosition.initial : positionBeforeWrap(ring, by: random.below(Int(size)))
        let device = try DeviceQueue(layout.configuration, features: ring.features, position: position, memory: memory)
        self.ring = ring
        self.layout = layout
        self.memory = memory
        self.device = device
        self.random = random
        own = LoopbackModel.Held()
        own.chain = ChainBuffer(capacity: capacity)
    }

    /// Fills ring and tables with more or less plausible nonsense.
    mutating func scribble() {
        for index in 0..<Int(ring.size) { descriptor(at: layout.configuration.descriptorArea + UInt64(16 * index), inTable: false) }
        for index in 0..<8 { descriptor(at: layout.data + UInt64(16 * index), inTable: true) }
        if ring.features.format == .split {
            let area = layout.configuration.driverArea
            for index in 0..<UInt64(ring.size) {
                memory.store(UInt16(random.below(random.oneIn(8) ? 65536 : Int(ring.size))), at: area + 4 + 2 * index)
            }
            let ahead = UInt16(random.oneIn(8) ? random.below(65536) : random.below(Int(ring.size) + 1))
            memory.store(device.position.available &+ ahead, at: area + 2)
            memory.store(UInt16(random.below(65536)), at: area)
            memory.store(UInt16(random.below(65536)), at: area + 4 + 2 * UInt64(ring.size))
        } else {
            memory.store(UInt32(truncatingIfNeeded: random.next()), at: layout.configuration.driverArea)
        }
    }

    private mutating func descriptor(at address: UInt64, inTable: Bool) {
        if random.oneIn(16) {
            memory.store(random.next(), at: address)
            memory.store(random.next(), at: address + 8)
            return
        }
        let target: UInt64
        switch random.below(12) {
        case 0: target = random.next()
        case 1: target = UInt64.max - UInt64(random.below(64))
        case 2: target = memory.end - UInt64(random.below(64))
        default: target = layout.data + UInt64(random.below(64)) * 16
        }
        let length: UInt32
        switch random.below(10) {
        case 0: length = UInt32(truncatingIfNeeded: random.next())
        case 1: length = UInt32.max - UInt32(random.below(32))
        case 2: length = 0
        default: length = UInt32(16 * random.within(1...8))
        }
        var flags: UInt16 = random.oneIn(2) ? RawRing.next : 0
        if random.oneIn(3) { flags |= RawRing.write }
        if random.oneIn(inTable ? 30 : 5) { flags |= RawRing.indirect }
        if flags & RawRing.indirect != 0, !random.oneIn(4) { flags &= ~RawRing.next }
        let tag = UInt16(random.below(random.oneIn(10) ? 65536 : Int(ring.size)))
        memory.store(target, at: address)
        memory.store(length, at: address + 8)
        if ring.features.format == .split {
            memory.store(flags, at: address + 12)
            memory.store(tag, at: address + 14)
        } else {
            // Mostly available, in the round that the device is in or in the next one.
            let wrap = random.oneIn(5) ? !device.position.availableWrap : device.position.availableWrap
            flags |= wrap ? RawRing.avail : RawRing.used
            if random.oneIn(20) { flags ^= RawRing.avail }
            memory.store(tag, at: address + 12)
            memory.store(flags, at: address + 14)
        }
    }

    /// Does what a device does, for a while; returns how many chains it was given and how many rules were broken.
    mutating func drain() throws -> (chains: Int, faults: Int) {
        var chains = 0
        var faults = 0
        var violation: String?
        device.disableNotifications()
        for _ in 0..<2 * Int(ring.size) + 4 {
            let slot = LoopbackModel.Held()
            let atOnce = random.oneIn(2)
            let before = device.position
            do throws(QueueFault) {
                let popped = atOnce ? try device.pop(into: &own.chain) : try device.pop(into: &slot.chain)
                guard popped else { break }
                chains += 1
                if atOnce {
                    violation = Self.violation(of: own.chain, memory, size: ring.size)
                    if random.oneIn(4) { device.rewind(own.chain) } else { finish(own) }
                } else {
                    violation = Self.violation(of: slot.chain, memory, size: ring.size)
                    held.append(slot)
                }
            } catch {
                faults += 1
                if device.position != before || error.description.isEmpty { throw Mismatch("the queue moved with: \(error)") }
                break
            }
            if let violation { throw Mismatch(violation) }
            if device.inFlight > Int(ring.size) { throw Mismatch("\(device.inFlight) in flight") }
            if random.oneIn(3) { _ = device.publish() }
        }
        while !held.isEmpty, !random.oneIn(4) {
            let slot = held.remove(at: random.below(held.count))
            finish(slot)
        }
        _ = device.publish()
        do throws(QueueFault) {
            _ = try device.enableNotifications()
        } catch {
            faults += 1
        }
        return (chains, faults)
    }

    /// What is wrong with a chain. Whatever a driver wrote, its segments lie in memory, add up, and are no more than the rules allow.
    private static func violation(of chain: borrowing ChainBuffer, _ memory: TestMemory, size: UInt16) -> String? {
        var total = (readable: 0, writable: 0)
        for index in 0..<chain.readable.count {
            total.readable += chain.readable[index].count
            guard memory.contains(chain.readable[index]) else { return "a readable segment outside memory" }
        }
        for index in 0..<chain.writable.count {
            total.writable += chain.writable[index].count
            guard memory.contains(chain.writable[index]) else { return "a writable segment outside memory" }
        }
        guard total.readable == chain.readableBytes, total.writable == chain.writableBytes else { return "the segments do not add up" }
        guard total.readable + total.writable <= Int(UInt32.max) else { return "more than 2³²−1 bytes" }
        let segments = chain.readable.count + chain.writable.count
        guard segments <= chain.capacity, segments <= Int(size) else { return "\(segments) segments" }
        return nil
    }

    /// Reads and writes everything: a segment outside memory would be found by the sanitizer, or end the test.
    private mutating func finish(_ slot: LoopbackModel.Held) {
        let tail = slot.chain.takeWritableTail(1)
        while slot.chain.readableBytes > 0 {
            if slot.chain.readInteger(as: UInt64.self) == nil { slot.chain.skipReadable(slot.chain.readableBytes) }
        }
        let value = random.next()
        if random.oneIn(2) { while slot.chain.writeInteger(value) {} }
        tail?.fill(0)
        device.complete(slot.chain, written: UInt32(truncatingIfNeeded: random.next()))
    }
}
