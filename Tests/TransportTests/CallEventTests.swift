import Host
import Testing
import Virtio

@testable import Transport

/// Used buffer notifications of a device in another process, around the driver's reset.
@Suite struct CallEventTests {
    /// The events of both queues of a device that was active and has been reset.
    private func afterReset(_ rig: Rig) throws -> (driver: any RegisterDriver, events: [EventFD]) {
        let driver = rig.driver()
        driver.start()
        let interrupt = try #require(rig.device.interrupt)
        let events = [try #require(interrupt.callEvent(0)), try #require(interrupt.callEvent(1))]
        driver.status = 0
        return (driver, events)
    }

    private func isSignalled(_ event: EventFD) throws -> Bool {
        let poller = try Poller()
        try poller.add(event.rawValue, token: 0)
        return try poller.wait(timeoutMilliseconds: 0) { _ in } > 0
    }

    /// Has the thread that passes signals on take one of the first queue. One that has taken the second's has passed on the first's.
    private func pass(_ events: [EventFD]) throws {
        for event in events {
            event.signal()
            let deadline = monotonicNanoseconds() + 30_000_000_000
            while try isSignalled(event) { try #require(monotonicNanoseconds() < deadline) }
        }
    }

    @Test("A back-end's notification is passed on while the driver is ready", arguments: TransportKind.allCases)
    func ready(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let driver = rig.driver()
        driver.start()
        let interrupt = try #require(rig.device.interrupt)
        try pass([try #require(interrupt.callEvent(0)), try #require(interrupt.callEvent(1))])
        #expect(driver.hasInterrupt())
        #expect(driver.interruptCauses() == 1)
    }

    @Test("2.4.1: a back-end's notification after a reset stays away until the driver is ready again", arguments: TransportKind.allCases)
    func afterReset(_ kind: TransportKind) throws {
        let rig = try Rig(kind)
        let (driver, events) = try afterReset(rig)
        try pass(events)
        #expect(!driver.hasInterrupt())
        #expect(driver.interruptCauses() == 0)
        driver.start()
        try pass(events)
        #expect(driver.hasInterrupt())
        #expect(driver.interruptCauses() == 1)
    }

    @Test("2.4.1: a reset forgets notifications that have not been passed on yet")
    func drained() throws {
        let rig = try Rig(.pci)
        let driver = PCIRegisterDriver(rig, slot: 1)
        // Without a vector signals stay in their events.
        driver.enableMSIX()
        driver.start()
        let event = try #require(rig.device.interrupt?.callEvent(0))
        event.signal()
        #expect(try isSignalled(event))
        driver.status = 0
        #expect(try !isSignalled(event))
    }
}
