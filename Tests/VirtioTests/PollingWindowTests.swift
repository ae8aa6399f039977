import Testing

@testable import Virtio

@Suite("How long a worker looks before it sleeps")
struct PollingWindowTests {
    @Test("Not at all at first, and never without a limit")
    func beginning() {
        var window = PollingWindow(limit: 0)
        #expect(!window.isWanted)
        for wait in [0, 1, 1000, UInt64.max] as [UInt64] {
            window.adapt(afterWaiting: wait)
            #expect(window.length == 0)
        }
        #expect(PollingWindow(limit: 32_000).isWanted)
        #expect(PollingWindow(limit: 32_000).length == 0)
    }

    @Test("It becomes as long as waits are, with room, and no longer than its limit")
    func growth() {
        var window = PollingWindow(limit: 32_000)
        window.adapt(afterWaiting: 10_000)
        #expect(window.length == 15_000)
        window.adapt(afterWaiting: 12_000)
        #expect(window.length == 15_000)
        window.adapt(afterWaiting: 30_000)
        #expect(window.length == 32_000)
        window.adapt(afterWaiting: 32_000)
        #expect(window.length == 32_000)
        // No sum of what anybody says overflows.
        var endless = PollingWindow(limit: .max)
        endless.adapt(afterWaiting: .max)
        #expect(endless.length == .max)
    }

    @Test("A long wait makes it short, and some end it")
    func shrinking() {
        var window = PollingWindow(limit: 32_000)
        window.adapt(afterWaiting: 32_000)
        var lengths: [UInt64] = []
        while window.length > 0 {
            window.adapt(afterWaiting: 32_001)
            lengths.append(window.length)
        }
        #expect(lengths == [8000, 2000, 0])
    }
}
