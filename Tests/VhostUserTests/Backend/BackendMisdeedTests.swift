import Host
import Testing
import Virtio

@testable import VhostUser

@Suite("Back-end against front-ends that break rules")
struct BackendMisdeedTests {
    @Test(
        "A broken rule ends the connection with one sentence; the device stands still, and the next front-end is served",
        arguments: Misdeed.all)
    func misdeed(_ misdeed: Misdeed) throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        try misdeed.act(driver)
        let failure = try #require(try driver.connection.failure())
        #expect(failure.kind == .violation)
        #expect(failure.description.contains(misdeed.sentence), "\(failure)")
        #expect(failure.description.hasSuffix("."))
        #expect(try !service.wasLeftActive())
        try expectService(service)
    }

    @Test("A front-end that leaves at any step leaves nothing behind", arguments: 0..<12)
    func leaves(_ step: Int) throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        let queue = driver.queue
        let steps: [() throws -> Void] = [
            { _ = try driver.peer.ask(.getFeatures) }, { _ = try driver.peer.ask(.getProtocolFeatures) }, { try driver.greet() },
            { try driver.peer.send(.setRingCall(queue.present), passing: [queue.call.rawValue]) },
            { try driver.shareMemory() }, { try driver.peer.send(.setRingSize(queue.state(64))) },
            { try driver.peer.send(.setRingAddresses(queue.addresses)) },
            { try driver.peer.send(.setRingKick(queue.present), passing: [queue.kick.rawValue]) },
            { try driver.peer.send(.setRingEnable(queue.state(1))) }, { try driver.peer.send(.setStatus(15)) },
            { _ = try driver.randomBytes() },
        ]
        for act in steps.prefix(step) { try act() }
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
        #expect(try !service.wasLeftActive())
        try expectService(service)
    }

    @Test("A kick before RAM and addresses starts nothing until the rest has come")
    func earlyKick() throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        let queue = driver.queue
        try driver.greet()
        try driver.peer.send(.setRingCall(queue.present), passing: [queue.call.rawValue])
        try driver.peer.send(.setRingKick(queue.present), passing: [queue.kick.rawValue])
        try driver.peer.send(.setRingEnable(queue.state(1)))
        try driver.synchronize()
        #expect(try !service.wasLeftActive())
        try driver.peer.send(.setRingAddresses(queue.addresses))
        try driver.synchronize()
        #expect(try !service.wasLeftActive())
        try driver.shareMemory()
        #expect(try driver.works())
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }

    @Test("What the host cannot do is refused if the front-end wants to be told, and the connection goes on")
    func hostFailure() throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        try driver.greet()
        // Can be mapped for reading only.
        let file = try OwnedDescriptor.open("/proc/self/exe", flags: 0)
        let region = MemoryRegionDescription(guestAddress: 0, size: 4096, userAddress: RawDriver.userBase, fileOffset: 0)
        #expect(try driver.peer.ask(.addMemoryRegion(region), needsReply: true, passing: [file.rawValue]) == .number(1))
        #expect(service.reports.count == 1)
        try driver.shareMemory()
        try driver.queue.start(on: driver.peer)
        #expect(try driver.works())
        // Without a wish for an answer it ends the connection.
        try driver.peer.send(.addMemoryRegion(region.moved(to: 1 << 40)), passing: [file.rawValue])
        let failure = try #require(try driver.connection.failure())
        #expect(failure.kind == .host)
        #expect(failure.description.contains("ADD_MEM_REG"))
        #expect(try !service.wasLeftActive())
        try expectService(service)
    }

    /// Connects again and uses the device.
    private func expectService(_ service: Service) throws {
        let driver = try RawDriver(try service.connect())
        try driver.start()
        #expect(try driver.works())
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
        #expect(try !service.wasLeftActive())
    }
}

extension MemoryRegionDescription {
    /// The same somewhere else.
    func moved(to address: UInt64) -> MemoryRegionDescription {
        MemoryRegionDescription(guestAddress: address, size: size, userAddress: address, fileOffset: fileOffset)
    }
}
