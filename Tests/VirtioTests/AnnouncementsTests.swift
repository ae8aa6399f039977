import Synchronization
import Testing
import Virtio

@Suite("News of a device that come from elsewhere")
struct AnnouncementsTests {
    @Test("That the device needs a reset is told to the driver that has not reset it since")
    func needsReset() {
        let announcements = Announcements()
        let driver = Listener()
        announcements.go(to: Interrupt(driver))
        announcements.needsReset(since: announcements.now)
        #expect(driver.resets == 1)
        let before = announcements.now
        announcements.go(to: nil)
        announcements.needsReset(since: before)
        announcements.go(to: Interrupt(driver))
        announcements.needsReset(since: before)
        #expect(driver.resets == 1)
        #expect(driver.changes == 0)
    }

    @Test("It is told to the same driver also after the device has slept")
    func slept() {
        let announcements = Announcements()
        let drivers = (Listener(), Listener())
        announcements.go(to: Interrupt(drivers.0))
        let before = announcements.now
        announcements.go(to: Interrupt(drivers.1))
        announcements.needsReset(since: before)
        #expect(drivers.0.resets == 0)
        #expect(drivers.1.resets == 1)
    }

    @Test("That the configuration has changed is told to whoever listens, or will be the next to")
    func changed() {
        let announcements = Announcements()
        let drivers = (Listener(), Listener())
        announcements.go(to: Interrupt(drivers.0))
        announcements.configurationChanged()
        announcements.go(to: nil)
        announcements.configurationChanged()
        announcements.configurationChanged()
        announcements.go(to: Interrupt(drivers.1))
        announcements.go(to: Interrupt(drivers.0))
        #expect(drivers.0.changes == 1)
        #expect(drivers.1.changes == 1)
        #expect(drivers.0.resets + drivers.1.resets == 0)
    }
}

private final class Listener: InterruptSink {
    private let counts = Mutex((changes: 0, resets: 0))
    var changes: Int { counts.withLock { $0.changes } }
    var resets: Int { counts.withLock { $0.resets } }
    func queueUsed(_ queue: Int) {}
    func configurationChanged() { counts.withLock { $0.changes += 1 } }
    func deviceNeedsReset() { counts.withLock { $0.resets += 1 } }
}
