import TestSupport
import Testing
import Virtqueue

/// Driver against device through shared memory, on random schedules.
@Suite struct LoopbackTests {
    /// Data arrives whole, in order on the way there and in the order of completion on the way back (2.7.13, 2.7.14, 2.8.20, 2.8.21), past
    /// the wrap of the 16-bit indices and of the packed wrap counters, with rewinds, batches and restores in between.
    @Test(arguments: RingCase.all)
    func randomSchedule(_ ring: RingCase) throws {
        for round: UInt64 in 0..<2 {
            let seed = seed(1000 + round)
            // The first round begins where a new queue does, the second one close before the indices wrap.
            let position = round == 0 ? QueuePosition.initial : positionBeforeWrap(ring, by: 300)
            do {
                var model = try LoopbackModel(ring, seed: seed, position: position)
                try run(&model, chains: 500)
            } catch {
                throw Mismatch("\(ring), seed \(seed): \(error)")
            }
        }
    }

    /// One schedule without any shortcut: more than 65536 chains from the start on.
    @Test func wholeLap() throws {
        let ring = RingCase(features: RingFeatures(format: .split, indirect: true, eventIndex: true), size: 16)
        let seed = seed(2000)
        do {
            var model = try LoopbackModel(ring, seed: seed)
            try run(&model, chains: 66_000)
        } catch {
            throw Mismatch("\(ring), seed \(seed): \(error)")
        }
    }

    private func run(_ model: inout LoopbackModel, chains: Int) throws {
        var step = 0
        // How eager each part is; drawn anew from time to time, so that the ring runs full and empty.
        var eagerness = [1, 1, 1, 1, 1, 1]
        while model.finished < chains {
            if step % 200 == 0 { eagerness = eagerness.map { _ in model.random.pick([1, 2, 4, 20]) } }
            step += 1
            try require(step < chains * 100, "no progress: \(model.finished) of \(chains) chains after \(step) steps")
            let action = model.random.below(7)
            let times = model.random.within(1...(action < 6 ? eagerness[action] : 1))
            switch action {
            case 0: for _ in 0..<times { guard try model.add() else { break } }
            case 1: _ = try model.publishAvailable()
            case 2: for _ in 0..<times { guard try model.pop() else { break } }
            case 3: for _ in 0..<times { guard try model.complete() else { break } }
            case 4: _ = try model.publishUsed()
            case 5: for _ in 0..<times { guard try model.take() else { break } }
            default:
                if model.random.oneIn(4) { _ = try model.rewindLast() }
                if model.random.oneIn(4) { try model.restoreDevice() }
            }
        }
        // Everything else comes back as well.
        _ = try model.publishAvailable()
        while try model.pop() {}
        while try model.complete() {}
        _ = try model.publishUsed()
        while try model.take() {}
        try require(model.requests.isEmpty, "\(model.requests.count) chains did not come back")
        try require(model.driver.freeDescriptors == Int(model.ring.size), "\(model.driver.freeDescriptors) descriptors are free")
        try require(model.device.inFlight == 0, "\(model.device.inFlight) still in flight at the device")
    }

    /// A ring can be filled to its last descriptor, which no index arithmetic may take for empty (2.7.13), and be given back in any order.
    @Test(arguments: RingCase.all)
    func fullRing(_ ring: RingCase) throws {
        let layout = TestLayout(ring)
        let memory = layout.memory(dataBytes: 4096)
        let position = positionBeforeWrap(ring, by: 1)
        var driver = try DriverQueue(layout.configuration, features: ring.features, position: position, memory: memory)
        var device = try DeviceQueue(layout.configuration, features: ring.features, position: position, memory: memory)
        let buffer = [DriverBuffer(address: layout.data, count: 4)]
        let none: [DriverBuffer] = []
        let available = try device.enableNotifications()
        #expect(!available)
        for lap in 0..<2 {
            for _ in 0..<ring.size { _ = try driver.add(readable: none.span, writable: buffer.span) }
            do throws(DriverFault) {
                _ = try driver.add(readable: none.span, writable: buffer.span)
                Issue.record("a full ring took another chain")
            } catch {
                #expect(error == .full(needed: 1, free: 0))
            }
            let notify = driver.publish()
            #expect(notify)
            var chains: [LoopbackModel.Held] = []
            for _ in 0..<ring.size {
                let held = LoopbackModel.Held()
                let popped = try device.pop(into: &held.chain)
                try require(popped, "\(ring): \(chains.count) chains popped")
                chains.append(held)
            }
            let extra = LoopbackModel.Held()
            let popped = try device.pop(into: &extra.chain)
            #expect(!popped)
            #expect(device.inFlight == Int(ring.size))
            if lap == 0 { chains.reverse() }
            for (index, held) in chains.enumerated() { device.complete(held.chain, written: UInt32(index % 5)) }
            let early = try driver.popUsed()
            #expect(early == nil, "completed chains must not show before publish")
            _ = device.publish()
            for (index, held) in chains.enumerated() {
                let used = try driver.popUsed()
                try require(used?.token == held.chain.head && used?.written == UInt32(index % 5), "\(ring): used chain \(index)")
            }
            let late = try driver.popUsed()
            #expect(late == nil)
            #expect(driver.freeDescriptors == Int(ring.size))
            _ = driver.setUsedNotifications(true)
            _ = try device.enableNotifications()
        }
    }
}
