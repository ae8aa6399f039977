import TestSupport
import Testing
import Virtqueue

/// A device that ends in the middle of its work, again and again, and is followed by another one that has the log of chains in flight.
@Suite struct InFlightTests {
    /// Every chain is used exactly once and in full, whatever the moment of the end (vhost-user, Inflight I/O tracking).
    @Test(arguments: RingCase.all.filter { $0.size <= 256 })
    func everyChainIsUsedOnce(_ ring: RingCase) throws {
        for round: UInt64 in 0..<2 {
            let seed = seed(7000 + round)
            let position = round == 0 ? QueuePosition.initial : positionBeforeWrap(ring, by: 300)
            do {
                var model = try LoopbackModel(ring, seed: seed, position: position)
                try model.startLog()
                try run(&model, chains: 400)
            } catch {
                throw Mismatch("\(ring), seed \(seed): \(error)")
            }
        }
    }

    private func run(_ model: inout LoopbackModel, chains: Int) throws {
        var step = 0
        var crashes = 0
        while model.finished < chains {
            step += 1
            try require(step < chains * 200, "no progress: \(model.finished) of \(chains) chains after \(step) steps")
            let times = model.random.within(1...6)
            switch model.random.below(8) {
            case 0: for _ in 0..<times { guard try model.add() else { break } }
            case 1: _ = try model.publishAvailable()
            case 2: for _ in 0..<times { guard try model.pop() else { break } }
            case 3: for _ in 0..<times { guard try model.complete() else { break } }
            case 4: _ = try model.publishUsed()
            case 5: for _ in 0..<times { guard try model.take() else { break } }
            case 6:
                if model.random.oneIn(4) { _ = try model.rewindLast() }
                if model.random.oneIn(4) { try model.restoreDevice() }
            default:
                guard model.random.oneIn(3) else { continue }
                try model.crash(midway: model.random.oneIn(2))
                crashes += 1
            }
        }
        try require(crashes > 0, "no end in the middle")
        _ = try model.publishAvailable()
        while try model.pop(mayRewind: false) {}
        while try model.complete() {}
        _ = try model.publishUsed()
        while try model.take() {}
        try require(model.requests.isEmpty, "\(model.requests.count) chains did not come back")
        try require(model.device.inFlight == 0, "\(model.device.inFlight) still in flight at the device")
    }

    /// Whatever stands in a log, the queue that is made with it gives out chains of the driver's or faults.
    @Test(arguments: RingCase.features)
    func garbage(_ ring: RingCase) throws {
        var random = Random(seed: seed(7100))
        for _ in 0..<300 {
            var model = try LoopbackModel(ring, seed: random.next())
            try model.startLog()
            for _ in 0..<3 { _ = try model.add() }
            _ = try model.publishAvailable()
            while try model.pop(mayRewind: false) {}
            guard let notes = model.notes else { throw Mismatch("no log") }
            let log = TestMemory(count: notes.count)
            for index in 0..<UInt64(InFlightLog.byteCount(ring.features.format, size: ring.size)) {
                // Some of it is as it was: what is wholly wrong is soon found out.
                log[TestMemory.address + index] =
                    random.oneIn(4) ? UInt8(truncatingIfNeeded: random.next()) : notes[TestMemory.address + index]
            }
            var device = try DeviceQueue(
                model.layout.configuration, features: ring.features, memory: model.memory,
                log: InFlightLog(log.all, owner: log, format: ring.features.format, size: ring.size))
            let held = LoopbackModel.Held()
            for _ in 0..<2 * Int(ring.size) {
                do throws(QueueFault) {
                    guard try device.pop(into: &held.chain) else { break }
                } catch {
                    break
                }
                for index in held.chain.writable.indices { check(model.memory.contains(held.chain.writable[index])) }
                device.complete(held.chain, written: 0)
                _ = device.publish()
            }
        }
    }

    /// A log that is too small for the queue is none.
    @Test func tooSmall() {
        let memory = TestMemory(count: 4096)
        #expect(InFlightLog.byteCount(.split, size: 256) == 4160)
        #expect(InFlightLog.byteCount(.packed, size: 256) == 8256)
        let log = InFlightLog(memory.all, owner: memory, format: .split, size: 256)
        check(log == nil)
    }
}
