import Host
import Testing
import Virtio

@testable import VhostUser

@Suite("Back-end: RAM that comes and goes")
struct BackendMemoryTests {
    /// A small region far away from the others.
    private func extra(_ driver: RawDriver, _ number: UInt64 = 0) -> MemoryRegionDescription {
        MemoryRegionDescription(
            guestAddress: (number + 1) << 32, size: 4096, userAddress: (number + 1) << 40, fileOffset: number << 12)
    }

    @Test("Regions come and go under a running ring", arguments: [false, true])
    func addAndRemove(_ withDescriptor: Bool) throws {
        let driver = try RawDriver(try Service().connect())
        try driver.start()
        #expect(try driver.works())
        let region = extra(driver)
        for _ in 0..<3 {
            #expect(try driver.peer.ask(.addMemoryRegion(region), needsReply: true, passing: [driver.file]) == .number(0))
            #expect(try driver.works())
            let passed = withDescriptor ? [driver.file] : []
            #expect(try driver.peer.ask(.removeMemoryRegion(region), needsReply: true, passing: passed) == .number(0))
            #expect(try driver.works())
        }
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }

    @Test("A ring rests while there is no RAM, and goes on where it stood")
    func allRemoved() throws {
        let driver = try RawDriver(try Service().connect())
        try driver.start()
        #expect(try driver.works())
        #expect(try driver.peer.ask(.removeMemoryRegion(driver.region), needsReply: true) == .number(0))
        let buffer = driver.place([0])
        try driver.queue.submit(writable: [buffer])
        #expect(try driver.peer.ask(.addMemoryRegion(driver.region), needsReply: true, passing: [driver.file]) == .number(0))
        #expect(try driver.queue.wait() == 1)
        #expect(try driver.works())
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }

    @Test("RAM under a running ring cannot go")
    func removedUnderRing() throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        try driver.start()
        try driver.peer.send(.addMemoryRegion(extra(driver)), passing: [driver.file])
        try driver.peer.send(.removeMemoryRegion(driver.region))
        let failure = try #require(try driver.connection.failure())
        #expect(failure == .violation("SET_VRING_ADDR puts queue 0 where no memory region is."))
        #expect(try !service.wasLeftActive())
    }

    @Test("A device reaches all of 32 regions, and a new table takes the place of the old one")
    func manyRegions() throws {
        let driver = try RawDriver(try Service().connect())
        try driver.start()
        for number in 0..<31 as Range<UInt64> {
            let region = extra(driver, number)
            #expect(try driver.peer.ask(.addMemoryRegion(region), needsReply: true, passing: [driver.file]) == .number(0))
        }
        #expect(try driver.works())
        let regions = [driver.region] + (0..<31).map { extra(driver, $0) }
        let reply = try driver.peer.ask(.setMemoryTable(regions.reversed()), needsReply: true, passing: regions.map { _ in driver.file })
        #expect(reply == .number(0))
        #expect(try driver.works())
        try driver.shareMemory()
        #expect(try driver.works())
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }

    @Test("RAM may lie anywhere in the guest, in the front-end and in its file")
    func pieces() throws {
        let driver = try RawDriver(try Service().connect())
        try driver.greet()
        // The first half behind the second one in the front-end's process.
        let half = RawDriver.ramSize / 2
        let regions = [
            MemoryRegionDescription(guestAddress: half, size: half, userAddress: 4096, fileOffset: half),
            MemoryRegionDescription(guestAddress: 0, size: half, userAddress: RawDriver.userBase, fileOffset: 0),
        ]
        try driver.peer.send(.setMemoryTable(regions), passing: [driver.file, driver.file])
        try driver.queue.start(on: driver.peer)
        #expect(try driver.works())
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }
}
