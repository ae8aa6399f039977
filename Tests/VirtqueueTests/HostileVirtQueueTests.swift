import TestSupport
import Testing
import Virtqueue

/// A device that lies to a `VirtQueue`: each lie is one typed error, and whatever it was, every buffer is unshared once and all memory freed.
@Suite struct HostileVirtQueueTests {
    /// Writes used entries byte by byte, with the numbers of the specification.
    private struct Liar {
        let memory: TestMemory
        let queue: QueueConfiguration
        let format: RingFormat

        func use(_ index: UInt64, id: UInt32, written: UInt32) {
            if format == .split {
                memory.store(id, at: queue.deviceArea + 4 + 8 * (index % 8))
                memory.store(written, at: queue.deviceArea + 8 + 8 * (index % 8))
                memory.store(UInt16(truncatingIfNeeded: index + 1), at: queue.deviceArea + 2)
            } else {
                let slot = queue.descriptorArea + 16 * (index % 8)
                memory.store(written, at: slot + 8)
                memory.store(UInt16(truncatingIfNeeded: id), at: slot + 12)
                memory.store(RawRing.avail | RawRing.used | RawRing.write, at: slot + 14)
            }
        }
    }

    /// Adds two chains, of which the first takes one slot and can be written 4 bytes, lets the device lie, and pops.
    private func lie(_ features: RingFeatures, _ lie: (Liar, [UInt16]) -> Void) throws -> [VirtQueueError] {
        let hal = BouncingHAL()
        let transport = FakeTransport(hal, features)
        var errors: [VirtQueueError] = []
        do {
            var queue: SmallQueue = try VirtQueue(transport, 0, features: features, hal: hal)
            var first: BufferChain? = BufferChain(readable: [], writable: [4])
            var second: BufferChain? = BufferChain(readable: [3], writable: [])
            let tokens = [try queue.add(&first), try queue.add(&second)]
            let configuration = try #require(transport.queue)
            lie(Liar(memory: hal.memory, queue: configuration, format: features.format), tokens)
            // Longer than there are chains.
            for _ in 0..<4 {
                do throws(VirtQueueError) {
                    guard let used = try queue.popUsed() else { break }
                    check(used.written <= 4)
                } catch {
                    errors.append(error)
                }
            }
            if !errors.isEmpty {
                var third: BufferChain? = BufferChain(readable: [3], writable: [])
                #expect(throws: VirtQueueError.stopped) { _ = try queue.add(&third) }
                check(!queue.canPop && !queue.notifyIfNeeded() && third != nil)
            }
        }
        #expect(hal.isClean, "\(hal.state)")
        return errors
    }

    @Test(arguments: allRingFeatures)
    func unknownIDs(_ features: RingFeatures) throws {
        for id: UInt32 in features.format == .split ? [7, 8, 0xffff, 0x1_0000, .max] : [7, 8, 0xffff] {
            #expect(try lie(features) { liar, _ in liar.use(0, id: id, written: 0) }.first == .device(.unknownBuffer(id)))
        }
    }

    @Test(arguments: allRingFeatures)
    func idTwice(_ features: RingFeatures) throws {
        var id: UInt32 = 0
        let errors = try lie(features) { liar, tokens in
            id = UInt32(tokens[0])
            liar.use(0, id: id, written: 1)
            liar.use(1, id: id, written: 1)
        }
        #expect(errors.first == .device(.unknownBuffer(id)))
        #expect(errors.dropFirst().allSatisfy { $0 == .stopped })
    }

    @Test(arguments: allRingFeatures)
    func lengths(_ features: RingFeatures) throws {
        for length: UInt32 in [5, 4096, .max] {
            let errors = try lie(features) { liar, tokens in liar.use(0, id: UInt32(tokens[0]), written: length) }
            #expect(errors.first == .device(.writtenTooMuch(length, capacity: 4)))
            let other = try lie(features) { liar, tokens in liar.use(0, id: UInt32(tokens[1]), written: length) }
            #expect(other.first == .device(.writtenTooMuch(length, capacity: 0)))
        }
    }

    @Test(arguments: allRingFeatures.filter { $0.format == .split }, [3, 9, 32768, 65535] as [UInt16])
    func usedIndexJumps(_ features: RingFeatures, _ index: UInt16) throws {
        let errors = try lie(features) { liar, _ in liar.memory.store(index, at: liar.queue.deviceArea + 2) }
        #expect(errors.first == .device(.usedIndex(index, next: 0)))
    }

    /// A borrowed request is taken from a device that lies before the call returns.
    @Test(arguments: allRingFeatures)
    func borrowedBuffers(_ features: RingFeatures) throws {
        let hal = BouncingHAL()
        let transport = FakeTransport(hal, features)
        var queue: SmallQueue = try VirtQueue(transport, 0, features: features, hal: hal)
        hal.onWait = { _ in
            if let configuration = transport.queue {
                Liar(memory: hal.memory, queue: configuration, format: features.format).use(0, id: 6, written: 0)
            }
            return true
        }
        var chain = BufferChain(readable: [1], writable: [1])
        #expect(throws: VirtQueueError.device(.unknownBuffer(6))) { _ = try queue.addNotifyWaitPop(&chain) }
        #expect(hal.bounces.isEmpty && transport.queue == nil)
        #expect(hal.misdeeds.isEmpty)
    }

    /// A device that overwrites all of its rings, tables and buffers at random moments.
    @Test(arguments: allRingFeatures)
    func garbage(_ features: RingFeatures) throws {
        let seed = seed(8000)
        var random = Random(seed: seed)
        var popped = 0
        var lies = 0
        for round in 0..<400 {
            let hal = BouncingHAL()
            let transport = FakeTransport(hal, features)
            do {
                var queue: SmallQueue = try VirtQueue(transport, 0, features: features, hal: hal)
                let configuration = try #require(transport.queue)
                let liar = Liar(memory: hal.memory, queue: configuration, format: features.format)
                var slot: UInt64 = 0
                var capacity: [UInt16: Int] = [:]
                for _ in 0..<12 {
                    let readable = (0..<random.below(3)).map { _ in random.within(1...20) }
                    let writable = (0..<random.within(1...2)).map { _ in random.within(1...20) }
                    var chain: BufferChain? = BufferChain(readable: readable, writable: writable)
                    if let token = try? queue.add(&chain) { capacity[token] = writable.reduce(0, +) }
                    if random.oneIn(2) {
                        // Now and then it tells the truth.
                        let id = random.oneIn(3) ? UInt16(random.below(9)) : capacity.keys.min() ?? 0
                        liar.use(slot, id: UInt32(id), written: UInt32(random.below(25)))
                        slot += 1
                    }
                    if random.oneIn(12) {
                        for address in configuration.deviceArea..<configuration.deviceArea + 70 {
                            hal.memory[address] = UInt8(truncatingIfNeeded: random.next())
                        }
                    }
                    do throws(VirtQueueError) {
                        while let used = try queue.popUsed() {
                            let most = capacity.removeValue(forKey: used.token) ?? -1
                            check(used.written <= most && used.buffers != nil, "seed \(seed), round \(round): token \(used.token)")
                            popped += 1
                        }
                    } catch {
                        lies += 1
                        if random.oneIn(3) { queue.stop() }
                    }
                }
            }
            try require(hal.isClean, "seed \(seed), round \(round): \(hal.state)")
        }
        #expect(popped > 50 && lies > 100, "\(popped) popped, \(lies) lies")
    }
}
