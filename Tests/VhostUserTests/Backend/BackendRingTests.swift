import Glibc
import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import VhostUser

@Suite("Back-end: rings and their life")
struct BackendRingTests {
    static let formats: [Features] = [[.version1], [.version1, .eventIndex], [.version1, .ringPacked]]

    /// Asserts that the front-end leaves in peace.
    private func expectPeace(_ driver: RawDriver) throws {
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }

    @Test("GET_VRING_BASE stops a ring and says where it stands; started there it goes on", arguments: formats)
    func stopAndGo(_ features: Features) throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect(), features: features)
        try driver.start()
        let queue = driver.queue
        for round in 1...3 {
            for _ in 0..<50 { #expect(try driver.works()) }
            // One more in each round before.
            let count = UInt16(51 * round - 1)
            let position =
                features.contains(.ringPacked)
                ? QueuePosition(available: count % 64, availableWrap: count / 64 % 2 == 0, used: count % 64, usedWrap: count / 64 % 2 == 0)
                : QueuePosition(available: count, used: count)
            let stand = BackEndReply.ring(queue.state(position.vringBase(features.ring.format)))
            #expect(try driver.peer.ask(.getRingBase(queue.state())) == stand)
            // It stands still: what is asked for now waits until it goes on.
            try queue.submit(writable: [driver.place([0])])
            #expect(try driver.peer.ask(.getRingBase(queue.state())) == stand)
            // A base that is set meanwhile is where it stands.
            try driver.peer.send(.setRingBase(queue.state(7)))
            #expect(try driver.peer.ask(.getRingBase(queue.state())) == .ring(queue.state(7)))
            try queue.start(on: driver.peer, base: position.vringBase(features.ring.format))
            #expect(try queue.wait() == 1)
        }
        try expectPeace(driver)
    }

    @Test("A base that says of a fresh packed ring only where it stands for the driver, as DPDK's, is that of a fresh ring")
    func halfBase() throws {
        let driver = try RawDriver(try Service().connect(), features: [.version1, .ringPacked])
        try driver.greet()
        try driver.shareMemory()
        try driver.queue.start(on: driver.peer, base: 0x8000)
        // Past the wrap of the ring.
        for _ in 0..<200 { #expect(try driver.works()) }
        try expectPeace(driver)
    }

    @Test("A ring that comes with a log is announced when it starts: whoever served it before may have ended before doing so")
    func announcedAtStart() throws {
        let driver = try RawDriver(try Service().connect())
        try driver.greet()
        try driver.shareMemory()
        // A part of RAM that nothing else uses.
        let log = InFlightDescription(size: 0x1_0000, offset: 0xa_0000, queueCount: 1, queueSize: 64)
        try driver.peer.send(.setInFlight(log), passing: [driver.file])
        try driver.queue.start(on: driver.peer)
        #expect(driver.queue.call.wait(timeoutMilliseconds: Timeout.patience))
        #expect(try driver.works())
        try expectPeace(driver)
    }

    @Test("What was used before SET_VRING_CALL is announced when it comes")
    func lateCall() throws {
        let driver = try RawDriver(try Service().connect())
        try driver.greet()
        try driver.shareMemory()
        let queue = driver.queue
        try driver.peer.send(.setRingAddresses(queue.addresses))
        try driver.peer.send(.setRingKick(queue.present), passing: [queue.kick.rawValue])
        try driver.peer.send(.setRingEnable(queue.state(1)))
        try queue.submit(writable: [driver.place([0])])
        let deadline = MonotonicTime.now + Timeout.patience
        while driver.memory.load(at: queue.configuration.deviceArea + 2, as: UInt16.self) == 0 {
            guard MonotonicTime.now < deadline else { throw Timeout("a used index") }
            sched_yield()
        }
        try driver.peer.send(.setRingCall(queue.present), passing: [queue.call.rawValue])
        #expect(queue.call.wait(timeoutMilliseconds: Timeout.patience))
        #expect(try queue.wait() == 1)
        try expectPeace(driver)
    }

    @Test("SET_VRING_ENABLE stops a ring and lets it go on where it stood")
    func disable() throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        try driver.start()
        #expect(try driver.works())
        for _ in 0..<3 {
            try driver.peer.send(.setRingEnable(driver.queue.state(0)))
            try driver.synchronize()
            let buffer = driver.place([0])
            try driver.queue.submit(writable: [buffer])
            try driver.peer.send(.setRingEnable(driver.queue.state(1)))
            #expect(try driver.queue.wait() == 1)
        }
        try expectPeace(driver)
    }

    @Test(
        "Status 0, RESET_DEVICE and RESET_OWNER let the device forget its driver",
        arguments: [.setStatus(0), .resetDevice, .resetOwner] as [FrontEndMessage])
    func reset(_ message: FrontEndMessage) throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        try driver.start()
        try driver.peer.send(.setStatus(15))
        #expect(try driver.works())
        try driver.peer.send(message)
        #expect(try driver.status() == 0)
        #expect(try !service.wasLeftActive())
        try driver.queue.clear()
        // RAM is still known.
        try driver.peer.send(.setFeatures(driver.features.rawValue | 1 << 30))
        try driver.queue.start(on: driver.peer)
        #expect(try driver.works())
        try expectPeace(driver)
        #expect(try !service.wasLeftActive())
    }

    @Test("A ring that no driver may have makes the device ask for a reset, which helps", arguments: [3, 48, 63] as [UInt16])
    func badSize(_ size: UInt16) throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        let channel = try SocketPair()
        let listener = try RawPeer(try channel.first.duplicate())
        try driver.greet()
        try driver.peer.send(.setBackendRequestSocket, passing: [channel.second.rawValue])
        try driver.peer.send(.setRingError(driver.queue.present), passing: [driver.queue.error.rawValue])
        try driver.shareMemory()
        try driver.queue.start(on: driver.peer, size: size)
        try driver.peer.send(.setStatus(15))
        #expect(try driver.status() == 15 | 64)
        #expect(driver.queue.error.drain())
        #expect(try listener.next().header == MessageHeader(request: 2, size: 0))
        #expect(service.reports.contains { $0.contains("queue size \(size)") })
        #expect(try !service.wasLeftActive())
        try driver.peer.send(.setStatus(0))
        #expect(try driver.status() == 0)
        try driver.queue.start(on: driver.peer)
        #expect(try driver.works())
        try expectPeace(driver)
    }

    @Test("A packed ring may have any size", arguments: [1, 3, 48, 63] as [UInt16])
    func packedSizes(_ size: UInt16) throws {
        let driver = try RawDriver(try Service().connect(), features: [.version1, .ringPacked], size: size)
        try driver.start()
        for _ in 0..<5 { #expect(try driver.works()) }
        try expectPeace(driver)
    }

    @Test("A ring that begins in RAM and ends outside makes the device ask for a reset")
    func ringAcrossTheEnd() throws {
        let driver = try RawDriver(try Service().connect())
        try driver.greet()
        try driver.shareMemory()
        var addresses = driver.queue.addresses
        addresses.deviceArea = RawDriver.userBase + RawDriver.ramSize - 8
        try driver.peer.send(.setRingAddresses(addresses))
        try driver.peer.send(.setRingKick(driver.queue.present), passing: [driver.queue.kick.rawValue])
        try driver.peer.send(.setRingEnable(driver.queue.state(1)))
        #expect(try driver.status() == 64)
        try expectPeace(driver)
    }

    @Test("A base where no ring can stand makes the device ask for a reset")
    func badBase() throws {
        for (features, base) in [([.version1], 65), ([.version1, .ringPacked], 0x7fff_7fff)] as [(Features, UInt32)] {
            let driver = try RawDriver(try Service().connect(), features: features)
            try driver.greet()
            try driver.shareMemory()
            try driver.queue.start(on: driver.peer, base: base)
            #expect(try driver.status() == 64)
            try expectPeace(driver)
        }
    }
}
