import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import VhostUser

/// Pages that the device has written are marked in the front-end's log while it is on, and no others.
@Suite("Back-end: the log of writes")
struct BackendLogTests {
    /// Has the entropy device fill a buffer of some pages; which pages those are.
    private func fill(_ driver: RawDriver, _ address: UInt64, _ count: Int) throws -> Set<Int> {
        let written = try driver.queue.run(writable: [DriverBuffer(address: address, count: UInt32(count))])
        #expect(written == UInt32(count))
        return Set(Int(address) / 4096...(Int(address) + count - 1) / 4096)
    }

    /// The pages of the ring that a device writes.
    private func ringPages(_ driver: RawDriver) -> Set<Int> {
        let configuration = driver.queue.configuration
        var written = [configuration.deviceArea]
        if driver.features.contains(.ringPacked) { written.append(configuration.descriptorArea) }
        return Set(written.map { Int($0) / 4096 })
    }

    private func started(_ features: Features) throws -> (Service, RawDriver) {
        let service = try Service()
        let driver = try RawDriver(try service.connect(), features: features)
        try driver.start()
        return (service, driver)
    }

    private func expectPeace(_ service: Service, _ driver: RawDriver) throws {
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
        #expect(service.reports.isEmpty)
    }

    @Test("It is turned on and off while rings run; what is marked are the pages written", arguments: BackendRingTests.formats)
    func onAndOff(_ features: Features) throws {
        let (service, driver) = try started(features)
        let log = try RawLog()
        #expect(try log.share(with: driver) == .number(0))
        for round in 0..<8 {
            let isOn = round % 2 == 1
            try driver.log(isOn)
            // What the start of a ring wrote.
            _ = log.take()
            var expected: Set<Int> = []
            for (address, count) in [(0x8_0000, 64), (0x9_1ff0, 32), (0xa_0800, 8192), (0xf_ffff, 1)] {
                expected.formUnion(try fill(driver, UInt64(address), count))
            }
            try driver.pause { #expect(log.take() == (isOn ? expected.union(ringPages(driver)) : [])) }
        }
        try expectPeace(service, driver)
    }

    @Test("On before there is a log, or RAM, or a ring", arguments: BackendRingTests.formats)
    func fromTheStart(_ features: Features) throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect(), features: features)
        try driver.greet()
        try driver.log(true)
        try driver.shareMemory()
        try driver.queue.start(on: driver.peer)
        _ = try fill(driver, 0x8_0000, 64)
        let log = try RawLog()
        #expect(try log.share(with: driver) == .number(0))
        let expected = try fill(driver, 0xc_0000, 64)
        try driver.pause { #expect(log.take() == expected.union(ringPages(driver))) }
        try expectPeace(service, driver)
    }

    @Test("A log is replaced by another one, and stands anywhere in its file", arguments: [0, 8, 13, 2048])
    func replaced(_ offset: Int) throws {
        let (service, driver) = try started([.version1])
        let logs = [try RawLog(), try RawLog(offset: offset), try RawLog(pageCount: 512, offset: offset)]
        for log in logs {
            #expect(try log.share(with: driver) == .number(0))
            try driver.log(true)
            let expected = try fill(driver, 0xb_0000, 5000)
            try driver.pause { #expect(log.take() == expected.union(ringPages(driver))) }
            for log in logs { _ = log.take() }
        }
        try expectPeace(service, driver)
    }

    @Test("A used ring is marked under the address for it as well", arguments: BackendRingTests.formats)
    func ringAddress(_ features: Features) throws {
        let (service, driver) = try started(features)
        let log = try RawLog()
        #expect(try log.share(with: driver) == .number(0))
        try driver.log(true) { _ in 0xe_0000 }
        let expected = try fill(driver, 0xc_0000, 64)
        try driver.pause { #expect(log.take() == expected.union(ringPages(driver)).union([0xe0])) }
        // Addresses that no log has bits for change nothing.
        for address in [1 << 40, UInt64.max - 1] {
            try driver.log(true) { _ in address }
            _ = log.take()
            let expected = try fill(driver, 0xc_0000, 64)
            try driver.pause { #expect(log.take() == expected.union(ringPages(driver))) }
        }
        try expectPeace(service, driver)
    }

    @Test("An event for the log is taken, and not used")
    func event() throws {
        let (service, driver) = try started([.version1])
        let event = try EventFD()
        for payload in [0, 8] {
            try driver.peer.send(
                MessageHeader(request: FrontEndRequest.setLogEvent.rawValue, size: payload), [UInt8](repeating: 0, count: payload),
                passing: [event.rawValue])
        }
        #expect(try driver.works())
        #expect(!event.isSignalled)
        try expectPeace(service, driver)
    }

    @Test("RAM that changes while the log is on is in the log")
    func memory() throws {
        let (service, driver) = try started([.version1])
        let log = try RawLog(pageCount: 1 << 14)
        #expect(try log.share(with: driver) == .number(0))
        try driver.log(true)
        // The same page of the file once more, at 32 MiB.
        let region = MemoryRegionDescription(guestAddress: 32 << 20, size: 4096, userAddress: 1 << 40, fileOffset: 0xd_0000)
        try driver.peer.send(.addMemoryRegion(region), passing: [driver.file])
        try driver.synchronize()
        let expected = try fill(driver, 32 << 20, 100)
        try driver.pause { #expect(log.take() == expected.union(ringPages(driver))) }
        try expectPeace(service, driver)
    }
}
