import TestSupport
import Testing
import Virtqueue

typealias SmallQueue = VirtQueue<BouncingHAL, 8>

/// A driver's queue on a platform that bounces, and a device that answers each byte with the next one.
@Suite struct VirtQueueTests {
    private static func rig(_ features: RingFeatures) -> (BouncingHAL, FakeTransport) {
        let hal = BouncingHAL()
        return (hal, FakeTransport(hal, features))
    }

    private static func queue(_ transport: FakeTransport) throws(VirtQueueError) -> SmallQueue {
        try VirtQueue(transport, 0, features: transport.ring, hal: transport.hal)
    }

    /// A chain that asks for the next bytes of `start`, `start` + 1, ….
    private static func request(_ start: UInt8, readable: [Int] = [3, 2], writable: [Int] = [4, 1]) -> BufferChain {
        var chain = BufferChain(readable: readable, writable: writable)
        var byte = start
        for index in 0..<readable.count {
            for offset in 0..<readable[index] {
                chain.store(byte, to: index, at: offset)
                byte &+= 1
            }
        }
        return chain
    }

    /// Whether `request`'s answer is there.
    private static func isAnswered(_ chain: borrowing BufferChain, _ start: UInt8) -> Bool {
        var byte = start &+ 1
        for index in chain.readableCount..<chain.count {
            for offset in 0..<chain.bytes(of: index).byteCount {
                guard chain.load(UInt8.self, from: index, at: offset) == byte else { return false }
                byte &+= 1
            }
        }
        return true
    }

    @Test(arguments: allRingFeatures)
    func requestsOneByOne(_ features: RingFeatures) throws {
        let (hal, transport) = Self.rig(features)
        hal.onWait = { _ in
            _ = try? transport.serve()
            _ = transport.publish()
            return true
        }
        do {
            var queue = try Self.queue(transport)
            check(hal.pages.count == (features.indirect ? 3 : 2))
            for round in 0..<100 as Range<UInt8> {
                var chain = Self.request(round)
                let written = try queue.addNotifyWaitPop(&chain)
                check(written == 5 && Self.isAnswered(chain, round), "round \(round)")
                check(hal.bounces.isEmpty && queue.inFlight == 0 && queue.availableDescriptors == 8)
            }
            // The device asks for nothing: that is a notification for each, but an available event of 0 names the first entry alone.
            let expected = features.format == .split && features.eventIndex ? 1 : 100
            check(transport.notifications == expected, "\(transport.notifications) notifications")
        }
        #expect(hal.isClean, "\(hal.state)")
        #expect(hal.events.filter { $0 == "share" }.count == 400)
    }

    @Test(arguments: allRingFeatures)
    func spans(_ features: RingFeatures) throws {
        let (hal, transport) = Self.rig(features)
        hal.onWait = { round in
            // Only a while later.
            guard round == 3 else { return round < 3 }
            _ = try? transport.serve()
            _ = transport.publish()
            return true
        }
        do {
            var queue = try Self.queue(transport)
            let question: [UInt8] = [7, 8, 9]
            var answer = [UInt8](repeating: 0, count: 3)
            var answerSpan = answer.mutableSpan
            var bytes = answerSpan.untyped
            let written = try queue.addNotifyWaitPop(readable: question.span.untyped, writable: &bytes)
            check(written == 3)
            #expect(answer == [8, 9, 10])
            var none: [UInt8] = []
            var noneSpan = none.mutableSpan
            var nothing = noneSpan.untyped
            check(try queue.addNotifyWaitPop(readable: question.span.untyped, writable: &nothing) == 0)
            #expect(throws: VirtQueueError.refused(.noBuffers)) {
                var empty: [UInt8] = []
                var span = empty.mutableSpan
                var bytes = span.untyped
                let nobody: [UInt8] = []
                _ = try queue.addNotifyWaitPop(readable: nobody.span.untyped, writable: &bytes)
            }
        }
        #expect(hal.isClean, "\(hal.state)")
    }

    /// Chains are taken away and given back, in the device's order; a token must be that of the next one.
    @Test(arguments: allRingFeatures)
    func ownedChains(_ features: RingFeatures) throws {
        let (hal, transport) = Self.rig(features)
        do {
            var queue = try Self.queue(transport)
            var first: BufferChain? = Self.request(10)
            var second: BufferChain? = Self.request(20, readable: [1], writable: [1])
            let tokens = [try queue.add(&first), try queue.add(&second)]
            check(first == nil && second == nil && tokens[0] != tokens[1])
            check(queue.inFlight == 2 && queue.availableDescriptors == (features.indirect ? 6 : 2))
            check(!queue.canPop)
            check(try queue.peekUsed() == nil)
            #expect(throws: VirtQueueError.notReady) { _ = try queue.popUsed(tokens[0]).token }
            check(hal.bounces.count == 6)
            try transport.serve()
            _ = transport.publish()
            check(queue.canPop)
            check(try queue.peekUsed() == tokens[0])
            #expect(throws: VirtQueueError.wrongToken(tokens[1], next: tokens[0])) { _ = try queue.popUsed(tokens[1]).token }
            #expect(throws: VirtQueueError.wrongToken(99, next: tokens[0])) { _ = try queue.popUsed(99).token }
            check(hal.bounces.count == 6, "nothing was popped")
            var used = try queue.popUsed(tokens[0])
            check(used.written == 5 && used.token == tokens[0])
            if let chain = used.buffers.take() { check(Self.isAnswered(chain, 10)) } else { Issue.record("no buffers came back") }
            guard var last = try queue.popUsed() else {
                Issue.record("nothing came back")
                return
            }
            check(last.token == tokens[1])
            if let chain = last.buffers.take() { check(Self.isAnswered(chain, 20)) } else { Issue.record("no buffers came back") }
            check(try queue.popUsed() == nil && queue.inFlight == 0)
        }
        #expect(hal.isClean, "\(hal.state)")
    }

    /// Past the wrap of the 16-bit index, in batches, and the ring often full.
    @Test(arguments: allRingFeatures)
    func wrap(_ features: RingFeatures) throws {
        let (hal, transport) = Self.rig(features)
        hal.keepsEvents = false
        var random = Random(seed: seed(7000))
        do {
            var queue = try Self.queue(transport)
            var spare: [Int: UInt8] = [:]
            var done = 0
            var notified = 0
            var served = 0
            let goal = features.format == .split && !features.indirect ? 66_000 : 2_000
            while done < goal {
                for _ in 0..<random.within(1...8) {
                    let start = UInt8(truncatingIfNeeded: done &+ spare.count &* 3)
                    var chain: BufferChain? = Self.request(start, readable: [1], writable: [1])
                    do {
                        spare[Int(try queue.add(&chain))] = start
                    } catch .refused(.full) {
                        check(chain != nil, "a chain that was refused is gone")
                        break
                    }
                }
                if queue.notifyIfNeeded() { notified += 1 }
                served += try transport.serve(limit: random.within(1...8))
                _ = transport.publish()
                while let used = try queue.popUsed() {
                    guard let start = spare.removeValue(forKey: Int(used.token)) else { throw Mismatch("token \(used.token) twice") }
                    switch used.buffers {
                    case .some(let chain): try require(Self.isAnswered(chain, start), "request \(done): wrong answer")
                    case .none: throw Mismatch("no buffers")
                    }
                    done += 1
                }
            }
            check(transport.notifications == notified && served >= done)
        }
        #expect(hal.isClean, "\(hal.state)")
    }

    // MARK: Notifications

    /// 2.7.7.1: with EVENT_IDX the flag stays 0, and suppression is an entry that is far away; it stays so past 65535 entries.
    @Test(arguments: allRingFeatures)
    func usedNotificationsOff(_ features: RingFeatures) throws {
        let (hal, transport) = Self.rig(features)
        hal.keepsEvents = false
        var queue = try Self.queue(transport)
        queue.setDeviceNotify(false)
        let isLong = features == RingFeatures(format: .split, eventIndex: true)
        for round in 0..<(isLong ? 132_000 : 2_000) {
            var chain: BufferChain? = BufferChain(readable: [1], writable: [])
            _ = try queue.add(&chain)
            try transport.serve()
            try require(!transport.publish(), "a notification was wanted in round \(round)")
            try require(try queue.popUsed() != nil, "nothing was used in round \(round)")
        }
        // And on again: each one is announced.
        check(!queue.setDeviceNotify(true))
        for round in 0..<20 {
            var chain: BufferChain? = BufferChain(readable: [1], writable: [])
            _ = try queue.add(&chain)
            try transport.serve()
            try require(transport.publish(), "no notification was wanted in round \(round)")
            try require(try queue.popUsed() != nil, "nothing was used in round \(round)")
        }
        // What came in between is told.
        queue.setDeviceNotify(false)
        var chain: BufferChain? = BufferChain(readable: [1], writable: [])
        _ = try queue.add(&chain)
        try transport.serve()
        check(!transport.publish())
        check(queue.setDeviceNotify(true))
    }

    /// 2.7.10, 2.8.14: every added chain counts until it was asked for, whatever number of them; and at the wrap of the index.
    @Test(arguments: allRingFeatures)
    func shouldNotify(_ features: RingFeatures) throws {
        let (hal, transport) = Self.rig(features)
        hal.keepsEvents = false
        var queue = try Self.queue(transport)
        check(!queue.shouldNotify(), "nothing was added")
        let rounds = features == RingFeatures(format: .split, eventIndex: true) ? 17_000 : 1_000
        for round in 0..<rounds {
            // The device sleeps: the first of three chains needs a notification, though nobody asked after it.
            try require(try transport.device?.enableNotifications() == false, "a chain is left")
            for _ in 0..<3 {
                var chain: BufferChain? = BufferChain(readable: [1], writable: [])
                _ = try queue.add(&chain)
            }
            try require(queue.shouldNotify(), "round \(round): the device sleeps")
            try require(!queue.shouldNotify(), "round \(round): asked twice")
            transport.device?.disableNotifications()
            try transport.serve(limit: 2)
            var chain: BufferChain? = BufferChain(readable: [1], writable: [])
            _ = try queue.add(&chain)
            try require(!queue.notifyIfNeeded(), "round \(round): the device is awake")
            try transport.serve()
            _ = transport.publish()
            while try queue.popUsed() != nil {}
        }
        #expect(transport.notifications == 0)
    }

    // MARK: What a driver may ask for

    @Test(arguments: allRingFeatures)
    func refusedChains(_ features: RingFeatures) throws {
        let (hal, transport) = Self.rig(features)
        do {
            let limited: SmallQueue = try VirtQueue(transport, 0, features: features, hal: hal, buffersPerChain: 4)
            var queue = limited
            func refused(_ chain: consuming BufferChain, _ queue: inout SmallQueue) -> VirtQueueError? {
                var chain: BufferChain? = chain
                do throws(VirtQueueError) {
                    _ = try queue.add(&chain)
                    return nil
                } catch {
                    return chain == nil ? nil : error
                }
            }
            check(refused(BufferChain(readable: [], writable: []), &queue) == .refused(.noBuffers))
            check(refused(BufferChain(readable: [1, 0], writable: [1]), &queue) == .emptyBuffer(1))
            check(refused(BufferChain(readable: [1], writable: [-5]), &queue) == .emptyBuffer(1))
            check(refused(BufferChain(readable: [1, 1, 1], writable: [1, 1]), &queue) == .refused(.tooManyBuffers(5, limit: 4)))
            var gone: BufferChain?
            #expect(throws: VirtQueueError.refused(.noBuffers)) { _ = try queue.add(&gone) }
            // The third buffer is too large for this platform; the first two are not left behind.
            check(refused(BufferChain(readable: [1, 1], writable: [BouncingHAL.bounceSize + 1]), &queue) == .notShared(2))
            check(hal.bounces.isEmpty && queue.inFlight == 0 && queue.availableDescriptors == 8)
            // As many as there is room for.
            var added = 0
            while refused(BufferChain(readable: [1, 1, 1, 1], writable: []), &queue) == nil { added += 1 }
            let free = queue.availableDescriptors
            check(added == (features.indirect ? 8 : 2) && free == 0)
            check(hal.bounces.count == 4 * added)
            var one = BufferChain(readable: [1], writable: [])
            #expect(throws: VirtQueueError.notIdle(inFlight: added)) { _ = try queue.addNotifyWaitPop(&one) }
        }
        #expect(hal.isClean, "\(hal.state)")
    }

    /// 2⁶⁴ bytes are not added up, and nothing of such a chain is looked at.
    @Test func tooManyBytes() throws {
        let (hal, transport) = Self.rig(RingFeatures())
        var queue = try Self.queue(transport)
        let huge = unsafe [HostRange](repeating: HostRange(base: hal.memory.base, count: Int.max), count: 3)
        let none: [HostRange] = []
        #expect(throws: VirtQueueError.refused(.tooManyBytes(.max))) {
            _ = try unsafe queue.add(readable: huge.span, writable: none.span)
        }
        #expect(hal.bounces.isEmpty)
    }

    // MARK: Beginning and end

    @Test(arguments: allRingFeatures)
    func initialisationThatFails(_ features: RingFeatures) throws {
        func failure(_ change: (BouncingHAL, FakeTransport) -> Void) -> VirtQueueError? {
            let (hal, transport) = Self.rig(features)
            change(hal, transport)
            do throws(VirtQueueError) {
                _ = try Self.queue(transport)
                return nil
            } catch {
                check(hal.isClean && transport.device == nil, "\(error): \(hal.state)")
                return error
            }
        }
        #expect(failure { $1.maximum = 4 } == .size(8, maximum: 4))
        #expect(failure { $1.maximum = 0 } == .size(8, maximum: 0))
        #expect(failure { $1.queue = QueueConfiguration(maxSize: 8) } == .alreadyUsed(0))
        for count in 0..<(features.indirect ? 3 : 2) {
            #expect(failure { hal, _ in hal.allocationsLeft = count } == .noMemory(pages: 1))
        }
        #expect(failure { $1.takesQueues = false } == .notTaken(0))
        guard case .badMemory = failure({ hal, _ in hal.misalignment = 2 }) else {
            Issue.record("memory that is not aligned was taken")
            return
        }
        #expect(failure { _, _ in } == nil)
    }

    @Test func sizesThatCannotBe() throws {
        let (hal, transport) = Self.rig(RingFeatures())
        transport.maximum = 32768
        #expect(throws: VirtQueueError.size(0, maximum: 32768)) {
            let _: VirtQueue<BouncingHAL, 0> = try VirtQueue(transport, 0, features: RingFeatures(), hal: hal)
        }
        #expect(throws: VirtQueueError.size(7, maximum: 32768)) {
            let _: VirtQueue<BouncingHAL, 7> = try VirtQueue(transport, 0, features: RingFeatures(), hal: hal)
        }
        #expect(throws: VirtQueueError.size(65536, maximum: 32768)) {
            let _: VirtQueue<BouncingHAL, 65536> = try VirtQueue(transport, 0, features: RingFeatures(), hal: hal)
        }
        // In the packed format any number can be (2.8.10.1).
        let packed = FakeTransport(hal, RingFeatures(format: .packed))
        let seven: VirtQueue<BouncingHAL, 7> = try VirtQueue(packed, 0, features: packed.ring, hal: hal)
        check(seven.availableDescriptors == 7)
    }

    /// A queue that goes away leaves its device first; then its buffers are unshared, and its rings freed at last.
    @Test(arguments: allRingFeatures)
    func endWithChainsInFlight(_ features: RingFeatures) throws {
        let (hal, transport) = Self.rig(features)
        do {
            var queue = try Self.queue(transport)
            for _ in 0..<2 {
                var chain: BufferChain? = Self.request(1, readable: [1], writable: [2])
                _ = try queue.add(&chain)
            }
            try transport.serve(limit: 1)
            _ = transport.publish()
            hal.events = []
        }
        #expect(hal.isClean, "\(hal.state)")
        let unset = try #require(hal.events.firstIndex(of: "unset"))
        let lastUnshare = try #require(hal.events.lastIndex(of: "unshare"))
        let firstFree = try #require(hal.events.firstIndex { $0.hasPrefix("deallocate") })
        #expect(unset == 0 && unset < lastUnshare && lastUnshare < firstFree)
        #expect(hal.events.filter { $0 == "unshare" }.count == 4)
        #expect(hal.events.filter { $0 == "unset" }.count == 1)
    }

    @Test(arguments: allRingFeatures)
    func stopGivesChainsBack(_ features: RingFeatures) throws {
        let (hal, transport) = Self.rig(features)
        do {
            var queue = try Self.queue(transport)
            for _ in 0..<3 {
                var chain: BufferChain? = Self.request(1, readable: [1], writable: [1])
                _ = try queue.add(&chain)
            }
            check(queue.takeBack() == nil, "the device has it")
            queue.stop()
            queue.stop()
            check(hal.bounces.isEmpty && hal.pages.count > 0)
            check(queue.takeBack() != nil)
            check(queue.takeBack() != nil)
            var chain: BufferChain? = Self.request(1)
            #expect(throws: VirtQueueError.stopped) { _ = try queue.add(&chain) }
            #expect(throws: VirtQueueError.stopped) { _ = try queue.popUsed(0).token }
            #expect(throws: VirtQueueError.stopped) { _ = try queue.peekUsed() }
            check(!queue.canPop && !queue.notifyIfNeeded())
        }
        #expect(hal.isClean, "\(hal.state)")
        #expect(hal.events.filter { $0 == "unset" }.count == 1)
    }

    /// Borrowed buffers do not stay with a device that does not answer.
    @Test(arguments: allRingFeatures)
    func noAnswer(_ features: RingFeatures) throws {
        let (hal, transport) = Self.rig(features)
        hal.onWait = { $0 < 5 }
        var queue = try Self.queue(transport)
        var chain = Self.request(1)
        #expect(throws: VirtQueueError.timedOut) { _ = try queue.addNotifyWaitPop(&chain) }
        #expect(hal.bounces.isEmpty && hal.events.contains("unset"))
        #expect(throws: VirtQueueError.stopped) { _ = try queue.addNotifyWaitPop(&chain) }
    }
}
