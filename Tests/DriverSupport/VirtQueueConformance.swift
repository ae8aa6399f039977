import Host
import TestSupport
import Virtio
import VirtioDriver
import Virtqueue

/// The same for the queue that guests' drivers use, on any transport of the host.
enum VirtQueueConformance {
    private typealias Queue = VirtQueue<TransportHAL, 64>

    /// A started device with one queue.
    private struct Rig: ~Copyable {
        let link: TransportLink
        let hal: TransportHAL
        var queue: Queue

        init(_ transport: any VirtioTransport) throws {
            let hal = try TransportHAL(transport)
            var link = TransportLink(transport)
            let features = try link.begin(wanted: transport.features.rawValue)
            let queue = try Queue(link, 0, features: RingFeatures(featureBits: features), hal: hal, buffersPerChain: 4)
            try link.finish()
            if let failure = link.failure { throw failure }
            self.link = link
            self.hal = hal
            self.queue = queue
        }
    }

    private static func header(_ type: UInt32, sector: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 16)
        for index in 0..<4 { bytes[index] = UInt8(truncatingIfNeeded: type >> UInt32(8 * index)) }
        for index in 0..<8 { bytes[8 + index] = UInt8(truncatingIfNeeded: sector >> (8 * index)) }
        return bytes
    }

    /// `addNotifyWaitPop`: a write, a flush if there is one, and a read, with the caller's own memory.
    static func single(_ transport: any VirtioTransport) throws {
        var rig = try Rig(transport)
        for round in 0..<5 {
            let content = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ round) }
            let written = try exchange(&rig, header(1, sector: 8 * round) + content, into: 1)
            try Conformance.expect(written == [0], "a write is answered with \(written)")
            let found = try exchange(&rig, header(0, sector: 8 * round), into: 4097)
            try Conformance.expect(Array(found.dropLast()) == content && found.last == 0, "round \(round): other data")
        }
        try Conformance.expect(rig.hal.bouncedPages == 0, "\(rig.hal.bouncedPages) pages are still shared")
    }

    private static func exchange(_ rig: inout Rig, _ request: [UInt8], into count: Int) throws -> [UInt8] {
        var answer = [UInt8](repeating: 0xee, count: count)
        var span = answer.mutableSpan
        var bytes = span.untyped
        _ = try rig.queue.addNotifyWaitPop(readable: request.span.untyped, writable: &bytes)
        return answer
    }

    /// Chains that the queue owns, several at a time, used in whatever order.
    static func data(_ transport: any VirtioTransport, operations: Int) throws {
        var rig = try Rig(transport)
        let sectors = 64
        var contents = Array(repeating: UInt64?.none, count: sectors)
        var random = SeededRandom(seed: 21)
        // What each token stands for, and the sectors that are being used.
        var jobs: [UInt16: (sector: Int, isWrite: Bool, value: UInt64)] = [:]
        var left = operations
        while left > 0 || rig.queue.inFlight > 0 {
            while left > 0, jobs.count < 12, rig.queue.availableDescriptors >= 3 {
                let sector = random.below(sectors)
                guard !jobs.values.contains(where: { $0.sector == sector }) else { break }
                let isWrite = random.oneIn(2)
                let value = random.next()
                var chain: BufferChain? =
                    isWrite ? BufferChain(readable: [16, 512], writable: [1]) : BufferChain(readable: [16], writable: [512, 1])
                for (offset, byte) in header(isWrite ? 1 : 0, sector: sector).enumerated() { chain?.store(byte, to: 0, at: offset) }
                if isWrite { for offset in stride(from: 0, to: 512, by: 8) { chain?.store(value &+ UInt64(offset), to: 1, at: offset) } }
                let token = try rig.queue.add(&chain)
                try Conformance.expect(jobs[token] == nil, "token \(token) is given twice")
                jobs[token] = (sector, isWrite, value)
                left -= 1
            }
            rig.queue.notifyIfNeeded()
            try waitForUsed(&rig)
            while let used = try rig.queue.popUsed() {
                guard let job = jobs.removeValue(forKey: used.token) else { throw ConformanceFailure("token \(used.token) was not given") }
                try Conformance.expect(used.buffers?.load(UInt8.self, from: 2) == 0, "a request failed")
                if job.isWrite {
                    contents[job.sector] = job.value
                } else if let expected = contents[job.sector] {
                    for offset in stride(from: 0, to: 512, by: 8) {
                        let found = used.buffers?.load(UInt64.self, from: 1, at: offset)
                        try Conformance.expect(found == expected &+ UInt64(offset), "sector \(job.sector) has other data")
                    }
                }
            }
        }
        try Conformance.expect(rig.hal.bouncedPages == 0, "\(rig.hal.bouncedPages) pages are still shared")
    }

    private static func waitForUsed(_ rig: inout Rig) throws {
        var round: UInt64 = 0
        while !rig.queue.canPop {
            try Conformance.expect(rig.hal.wait(round), "the device does not answer (\(rig.link.failure.map { "\($0)" } ?? "no error"))")
            round += 1
        }
    }

    /// None is lost while they are on, and none comes while they are off, but for those under way.
    static func notifications(_ transport: any VirtioTransport) throws {
        var rig = try Rig(transport)
        let event = try transport.completionEvent(0)
        rig.queue.setDeviceNotify(true)
        for _ in 0..<50 {
            try read(&rig)
            try waitForNotification(of: event, &rig)
            try takeOne(&rig)
        }
        event.drain()
        rig.queue.setDeviceNotify(false)
        for _ in 0..<50 {
            try read(&rig)
            while !rig.queue.canPop { pause(milliseconds: 1) }
            try takeOne(&rig)
        }
        // Without EVENT_IDX the device looks at a flag, with it at an index that stays behind: in neither case does it signal each time.
        try Conformance.expect(!event.isSignalled, "the device notifies although it shall not")
        rig.queue.setDeviceNotify(true)
        try read(&rig)
        try waitForNotification(of: event, &rig)
        try takeOne(&rig)
    }

    /// A device may send one for nothing, when it starts, say.
    private static func waitForNotification(of event: EventFD, _ rig: inout Rig) throws {
        repeat {
            try Conformance.expect(event.wait(timeoutMilliseconds: 10_000), "no notification; a chain is used: \(rig.queue.canPop)")
        } while !rig.queue.canPop
    }

    private static func read(_ rig: inout Rig) throws {
        var chain: BufferChain? = BufferChain(readable: [16], writable: [512, 1])
        _ = try rig.queue.add(&chain)
        rig.queue.notifyIfNeeded()
    }

    private static func takeOne(_ rig: inout Rig) throws {
        guard let used = try rig.queue.popUsed() else { throw ConformanceFailure("a notification came, and nothing is used") }
        try Conformance.expect(used.buffers?.load(UInt8.self, from: 2) == 0, "a request failed")
    }

    /// More requests than a ring index can count.
    static func wrap(_ transport: any VirtioTransport) throws {
        var rig = try Rig(transport)
        var (done, asked) = (0, 0)
        rig.queue.setDeviceNotify(true)
        while done < 70_000 {
            while asked < 70_000, asked - done < 16 {
                var chain: BufferChain? = BufferChain(readable: [16], writable: [512, 1])
                _ = try rig.queue.add(&chain)
                asked += 1
            }
            rig.queue.notifyIfNeeded()
            try waitForUsed(&rig)
            while let used = try rig.queue.popUsed() {
                try Conformance.expect(used.buffers?.load(UInt8.self, from: 2) == 0, "request \(done) failed")
                done += 1
            }
        }
    }
}
