import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

/// What the runtime of asynchronous devices promises their authors.
@Suite("Async runtime")
struct AsyncRuntimeTests {
    typealias Rings = DeviceHarness.Rings

    /// Sends a number through the device; what came back.
    private func send(_ number: UInt32, _ harness: DeviceHarness, queue: Int = 0) throws -> UInt32 {
        let (token, address) = try submit(number, harness, queue: queue)
        #expect(try harness.wait(queue: queue, token) == 4)
        return harness.bytes(at: address, count: 4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }

    private func submit(_ number: UInt32, _ harness: DeviceHarness, queue: Int = 0, kick: Bool = true) throws -> (UInt16, UInt64) {
        let request = harness.place((0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) })
        let address = harness.allocate(4)
        let token = try harness.submit(
            queue: queue, readable: [DriverBuffer(address: request, count: 4)], writable: [DriverBuffer(address: address, count: 4)],
            kick: kick)
        return (try #require(token), address)
    }

    @Test("a stream gives chains and takes them back, on every kind of ring", arguments: Rings.all)
    func serves(_ rings: Rings) throws {
        let host = try ScriptedDevice.host { device in
            guard var stream = try? device.takeStream(0) else { return }
            while let chain = await stream.next() { increment(chain) }
        }
        let harness = try DeviceHarness(host, rings: rings)
        try harness.activate()
        for number in 0..<100 as Range<UInt32> {
            #expect(try send(number, harness) == number + 1)
            harness.releaseBuffers()
        }
        // More than the ring holds, and every state of the lifecycle on the way.
        for round in 0..<20 {
            let tokens = try (0..<8).map { try submit($0, harness, kick: $0 % 3 == 0).0 }
            harness.kick()
            if round % 4 == 1 {
                try harness.sleep()
                #expect(try #require(harness.restingPosition(queue: 0)).inFlight == 0)
                try harness.wake()
            }
            if round % 4 == 3 { #expect(try harness.bounceQueue(0)) }
            for token in tokens { #expect(try harness.wait(token) == 4) }
            harness.releaseBuffers()
        }
        try harness.reset()
        try harness.activate()
        #expect(try send(7, harness) == 8)
    }

    @Test("a driver that never stops making chains available does not keep its device from being stopped")
    func endlessDriver() throws {
        let (place, ends) = (Notes<UInt64>(), Notes<Bool>())
        let begun = try EventFD()
        let host = try ScriptedDevice.host { device in
            guard var stream = try? device.takeStream(0), place.all.count == 2 else { return }
            let (area, size, memory) = (place.all[0], place.all[1], device.context.memory)
            for count in 0..<2_000_000 {
                guard let chain = await stream.next() else { return ends.add(true) }
                let head = chain.head
                chain.complete()
                stream.flush()
                // The same chain once more, at once: `ring` and `idx` of the available ring (virtio 1.3, 2.7.6).
                let index: UInt16 = memory.load(at: area + 2) ?? 0
                memory.store(head, at: area + 4 + 2 * (UInt64(index) % size))
                memory.store(index &+ 1, at: area + 2)
                if count == 100 { begun.signal() }
            }
            ends.add(false)
        }
        let harness = try DeviceHarness(host, rings: Rings(format: .split))
        place.add(harness.configurations[0].driverArea)
        place.add(UInt64(harness.configurations[0].size))
        try harness.activate()
        _ = try submit(1, harness)
        try #require(begun.wait(timeoutMilliseconds: 10_000))
        try harness.reset()
        #expect(ends.all == [true])
    }

    @Test("a stream is there once at a time, and comes back when it is dropped")
    func takenTwice() throws {
        let notes = Notes<RuntimeError?>()
        @Sendable func note(_ body: () throws(RuntimeError) -> Void) {
            do throws(RuntimeError) {
                try body()
                notes.add(nil)
            } catch {
                notes.add(error)
            }
        }
        let host = try ScriptedDevice.host { device in
            note { () throws(RuntimeError) in
                let stream = try device.takeStream(0)
                note { () throws(RuntimeError) in _ = try device.takeStream(0) }
                note { () throws(RuntimeError) in _ = try device.takeStream(1) }
                _ = stream.queue
            }
            note { () throws(RuntimeError) in try device.notifyQueue(0) }
            note { () throws(RuntimeError) in try device.notifyQueue(9) }
            note { () throws(RuntimeError) in
                let bells = try device.takeBellTraps()
                _ = consume bells
                _ = try device.takeBellTraps()
            }
            guard var stream = try? device.takeStream(0) else { return }
            while let chain = await stream.next() { increment(chain) }
        }
        let harness = try DeviceHarness(host)
        try harness.activate()
        #expect(try send(1, harness) == 2)
        #expect(notes.all == [.streamTaken(0), .noSuchQueue(1), nil, .noStream(0), .noSuchQueue(9), .bellTrapsTaken])
    }

    @Test("the device runs on its own thread, its child tasks too, and a second queue waits for nobody", arguments: Rings.both)
    func children(_ rings: Rings) throws {
        let notes = Notes<Bool>()
        let host = try ScriptedDevice.host(queues: [16, 16]) { device in
            await withTaskGroup(of: Void.self) { group in
                for queue in device.configuredQueues {
                    group.addTask {
                        guard var stream = try? device.takeStream(queue) else { return }
                        while let chain = await stream.next() {
                            notes.add(device.loop.isCurrent)
                            increment(chain)
                        }
                    }
                }
            }
        }
        let harness = try DeviceHarness(host, rings: rings)
        try harness.activate()
        for number in 0..<20 as Range<UInt32> {
            #expect(try send(number, harness, queue: Int(number % 2)) == number + 1)
        }
        #expect(try harness.stopQueue(0))
        #expect(try send(5, harness, queue: 1) == 6)
        try harness.startQueue(0)
        #expect(try send(5, harness, queue: 0) == 6)
        #expect(notes.all == Array(repeating: true, count: 22))
    }

    @Test("a chain that is dropped goes back with nothing written", arguments: Rings.both)
    func dropped(_ rings: Rings) throws {
        let host = try ScriptedDevice.host { device in
            guard var stream = try? device.takeStream(0) else { return }
            while var chain = await stream.next() { chain.writable.writeInteger(UInt32(7)) }
        }
        let harness = try DeviceHarness(host, rings: rings)
        try harness.activate()
        #expect(try harness.wait(submit(1, harness).0) == 0)
        #expect(try harness.wait(submit(1, harness).0) == 0)
    }

    @Test("no more is claimed as written than a chain can hold")
    func claims() throws {
        let host = try ScriptedDevice.host { device in
            guard var stream = try? device.takeStream(0) else { return }
            while var chain = await stream.next() {
                chain.writable.skip(1)
                _ = chain.writable.takeTail(1)
                chain.complete(written: .max)
            }
        }
        let harness = try DeviceHarness(host)
        try harness.activate()
        #expect(try harness.wait(submit(1, harness).0) == 4)
    }

    @Test("chains can be held, answered in any order, and put back", arguments: Rings.both)
    func order(_ rings: Rings) throws {
        let notes = Notes<UInt32>()
        let host = try ScriptedDevice.host { device in
            guard var stream = try? device.takeStream(0) else { return }
            guard var first = await stream.next(), var second = await stream.next() else { return }
            notes.add(first.readable.readInteger() ?? 0)
            notes.add(second.readable.readInteger() ?? 0)
            // The earlier one first: it waits for the later one.
            first.putBack()
            second.putBack()
            guard let again = await stream.next(), let later = await stream.next() else { return }
            increment(later)
            increment(again)
            // One that cannot go back, because a later one is with the driver already.
            guard let lost = await stream.next(), let answered = await stream.next() else { return }
            increment(answered)
            lost.putBack()
            while let chain = await stream.next() { increment(chain) }
        }
        let harness = try DeviceHarness(host, rings: rings)
        try harness.activate()
        let tokens = try (1...2).map { try submit($0, harness).0 }
        for token in tokens { #expect(try harness.wait(token) == 4) }
        #expect(notes.all == [1, 2])
        let more = try (3...4).map { try submit($0, harness).0 }
        #expect(try harness.wait(more[1]) == 4)
        #expect(try harness.wait(more[0]) == 0)
        #expect(try send(5, harness) == 6)
    }

    @Test("sleep loses nothing that is held", arguments: Rings.both)
    func heldOverSleep(_ rings: Rings) throws {
        let taken = try EventFD()
        let answers = Notes<Bool>()
        let host = try ScriptedDevice.host { device in
            guard var stream = try? device.takeStream(0) else { return }
            if answers.all == [true] {
                while let chain = await stream.next() { increment(chain) }
                return
            }
            guard let first = await stream.next(), let second = await stream.next() else { return }
            taken.signal()
            // Nothing more comes; the two are dropped, the earlier one first.
            _ = await stream.next()
            _ = consume first
            _ = consume second
        }
        let harness = try DeviceHarness(host, rings: rings)
        try harness.activate()
        let tokens = try (1...2).map { try submit($0, harness).0 }
        #expect(taken.wait(timeoutMilliseconds: 30_000))
        try harness.sleep()
        let resting = try #require(harness.restingPosition(queue: 0))
        #expect(resting.inFlight == 0)
        #expect(resting.position.used == 0)
        answers.add(true)
        try harness.wake()
        for token in tokens { #expect(try harness.wait(token) == 4) }
    }

    @Test("a chain that outlives its device is empty, and harmless", arguments: [true, false])
    func outlives(_ touches: Bool) throws {
        let notes = Notes<Keeper>()
        let taken = try EventFD()
        let host = try ScriptedDevice.host { device in
            let keeper = Keeper(device.loop)
            notes.add(keeper)
            await keeper.run(device, touches, taken)
        }
        let harness = try DeviceHarness(host)
        try harness.activate()
        let token = try submit(1, harness).0
        #expect(taken.wait(timeoutMilliseconds: 30_000))
        try harness.sleep()
        #expect(try #require(harness.restingPosition(queue: 0)).inFlight == 0)
        #expect(try harness.poll(token) == (touches ? 0 : nil))
        #expect(notes.all.count == 1)
    }

    @Test("a broken rule asks for a reset, for all queues, and the next driver is served", arguments: Rings.both)
    func faults(_ rings: Rings) throws {
        let host = try ScriptedDevice.host { device in
            guard var stream = try? device.takeStream(0) else { return }
            while let chain = await stream.next() { increment(chain) }
        }
        let harness = try DeviceHarness(host, rings: rings)
        try harness.activate()
        _ = try harness.submit(writable: [DriverBuffer(address: 1 << 40, count: 4)])
        try harness.waitForNeedsReset()
        // It can be stopped all the same.
        try harness.sleep()
        try harness.wake()
        try harness.reset()
        try harness.activate()
        #expect(try send(1, harness) == 2)
    }

    @Test("one notification for a batch, and an explicit flush for the impatient", arguments: Rings.local, [false, true])
    func notifications(_ rings: Rings, _ flushes: Bool) throws {
        var rings = rings
        rings.eventIndex = false
        let gate = try EventFD()
        let host = try ScriptedDevice.host { device in
            guard var stream = try? device.takeStream(0) else { return }
            let watch = DescriptorWatch(gate.rawValue, on: device.loop)
            guard (try? await watch.wait()) != nil else { return }
            while let chain = await stream.next() {
                increment(chain)
                if flushes { stream.flush() }
            }
        }
        let harness = try DeviceHarness(host, rings: rings)
        try harness.activate()
        let tokens = try (0..<8).map { try submit($0, harness).0 }
        let before = harness.interrupts.count(queue: 0)
        gate.signal()
        for token in tokens { #expect(try harness.wait(token) == 4) }
        try harness.sleep()
        #expect(harness.interrupts.count(queue: 0) - before == (flushes ? 8 : 1))
    }

    @Test("what another task returns is published without the stream")
    func returnedElsewhere() throws {
        let host = try ScriptedDevice.host { device in
            guard var stream = try? device.takeStream(0) else { return }
            let timer = Waiter(device.loop)
            while let chain = await stream.next() {
                // The stream does not wait for chains meanwhile.
                increment(chain)
                _ = await timer.wait(until: monotonicNanoseconds() + 1_000_000)
                guard let flag = await stream.next() else { return }
                increment(flag)
                _ = await timer.wait()
            }
        }
        let harness = try DeviceHarness(host)
        try harness.activate()
        #expect(try send(1, harness) == 2)
        #expect(try send(2, harness) == 3)
    }

    @Test("doorbells can be trapped, and passed on")
    func bells() throws {
        let notes = Notes<Int>()
        let host = try ScriptedDevice.host(queues: [16, 16]) { device in
            await withTaskGroup(of: Void.self) { group in
                guard var bells = try? device.takeBellTraps() else { return }
                for queue in device.configuredQueues {
                    group.addTask {
                        guard var stream = try? device.takeStream(queue) else { return }
                        while let chain = await stream.next() { increment(chain) }
                    }
                }
                if let first = await bells.next() {
                    notes.add(first)
                    try? device.notifyQueue(first)
                }
                try? await device.runDeviceNotify(bells)
            }
        }
        let harness = try DeviceHarness(host)
        try harness.activate()
        for number in 0..<10 as Range<UInt32> { #expect(try send(number, harness, queue: 1) == number + 1) }
        #expect(try send(1, harness, queue: 0) == 2)
        #expect(notes.all == [1])
    }

    @Test("a doorbell of a queue that nobody serves ends runDeviceNotify; a function that returns leaves the device stoppable")
    func nobodyServes() throws {
        let notes = Notes<RuntimeError?>()
        let ended = try EventFD()
        let host = try ScriptedDevice.host { device in
            guard let bells = try? device.takeBellTraps() else { return }
            do throws(RuntimeError) { try await device.runDeviceNotify(bells) } catch { notes.add(error) }
            ended.signal()
        }
        let harness = try DeviceHarness(host)
        try harness.activate()
        harness.ring()
        #expect(ended.wait(timeoutMilliseconds: 30_000))
        #expect(notes.all == [.noStream(0)])
        harness.ring()
        try harness.sleep()
        try harness.wake()
        try harness.reset()
    }

    @Test("a queue cannot be configured twice")
    func builder() throws {
        let memory = try GuestMemory(ranges: [0..<1 << 20])
        var configuration = QueueConfiguration(maxSize: 8)
        (configuration.descriptorArea, configuration.driverArea, configuration.deviceArea) = (0, 4096, 8192)
        configuration.ready = true
        func queue(_ index: Int) throws -> ActiveQueue {
            ActiveQueue(index: index, ring: try GuestQueue(configuration, features: RingFeatures(), memory: memory), kick: try EventFD())
        }
        let interrupt = Interrupt(try TestInterrupts())
        let context = DeviceContext(
            Activation(memory: memory, interrupt: interrupt, features: .ours, queues: QueueSet(count: 0)), label: "builder")
        var builder = DeviceBuilder(context, on: try EventLoop())
        try builder.addQueue(queue(3))
        #expect(throws: RuntimeError.alreadyConfigured(3)) { try builder.addQueue(try queue(3)) }
        try builder.addQueue(queue(1))
        #expect(builder.configuredQueues == [3, 1])
    }
}
