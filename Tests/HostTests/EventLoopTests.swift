import Synchronization
import Testing

@testable import Host

/// The loop that asynchronous devices run on.
@Suite("Event loop")
struct EventLoopTests {
    /// A client that counts.
    private final class Client: EventLoopClient {
        var waits = 0
        var ends = 0
        func loopWillWait() { waits += 1 }
        func loopEnds() { ends += 1 }
    }

    /// What tasks tell their test.
    private final class Notes<Element: Sendable>: Sendable {
        private let notes = Mutex<[Element]>([])
        var all: [Element] { notes.withLock { $0 } }
        func add(_ new: [Element]) { notes.withLock { $0 += new } }
    }

    /// Runs a task on a loop of this thread until the task asks to stop, or returns.
    private func run(_ loop: EventLoop, _ stop: EventFD, _ body: @escaping @Sendable () async -> Void) throws {
        let client = Client()
        try loop.adopt {
            try loop.run(until: stop, for: client) { [stop] in
                await body()
                stop.signal()
            }
        }
        #expect(client.ends == 1)
        #expect(client.waits > 0)
    }

    @Test("tasks, child tasks and actors of a loop run on its thread, however often it runs")
    func executor() throws {
        let loop = try EventLoop()
        let stop = try EventFD()
        let places = Notes<Bool>()
        let pinned = Pinned(loop)
        for _ in 0..<3 {
            try run(loop, stop) {
                places.add([loop.isCurrent])
                await withTaskGroup(of: Void.self) { group in
                    for _ in 0..<100 { group.addTask { places.add([loop.isCurrent]) } }
                }
                for _ in 0..<100 { await pinned.add() }
                let sum = await pinned.sum
                places.add([sum % 100 == 0 && loop.isCurrent])
            }
            stop.drain()
            #expect(!loop.isCurrent)
        }
        #expect(places.all == Array(repeating: true, count: 3 * 102))
    }

    private actor Pinned {
        nonisolated let loop: EventLoop
        nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe loop.asUnownedSerialExecutor() }
        private(set) var sum = 0
        init(_ loop: EventLoop) { self.loop = loop }
        func add() {
            loop.checkIsolated()
            sum += 1
        }
    }

    @Test("a signal is kept until somebody waits, once, and comes from any thread")
    func signals() throws {
        let loop = try EventLoop()
        let (stop, asked) = (try EventFD(), try EventFD())
        let waiter = Waiter(loop)
        let reasons = Notes<Waiter.Reason>()
        let other = try WorkerThread(name: "other", state: true) { _, stop in
            while !stop.isSignalled {
                if asked.wait(timeoutMilliseconds: 10) { waiter.signal() }
            }
        }
        try run(loop, stop) {
            waiter.signal()
            waiter.signal()
            let kept = await waiter.wait()
            let late = await waiter.wait(until: 0)
            reasons.add([kept, late])
            for _ in 0..<100 {
                asked.signal()
                let reason = await waiter.wait()
                reasons.add([reason])
            }
        }
        _ = other.stop()
        #expect(reasons.all == [.signalled, .timeIsUp] + Array(repeating: .signalled, count: 100))
    }

    @Test("times are up in their order, and not before")
    func times() throws {
        let loop = try EventLoop()
        let order = Notes<Int>()
        try run(loop, try EventFD()) {
            let start = monotonicNanoseconds()
            await withTaskGroup(of: Void.self) { group in
                for index in [3, 1, 2, 0] {
                    group.addTask {
                        let deadline = start + UInt64(index) * 5_000_000
                        let reason = await Waiter(loop).wait(until: deadline)
                        order.add([reason == .timeIsUp && monotonicNanoseconds() >= deadline ? index : -1])
                    }
                }
            }
        }
        #expect(order.all == [0, 1, 2, 3])
    }

    @Test("a descriptor is waited for, for some time, and its end is told")
    func descriptors() throws {
        let loop = try EventLoop()
        let pair = try SocketPair()
        let end = try pair.first.duplicate()
        let near = end.rawValue
        let far = Slot(try pair.second.duplicate())
        _ = consume pair
        let found = Notes<Bool>()
        try run(loop, try EventFD()) {
            let watch = DescriptorWatch(near, on: loop)
            let nothing = try? await watch.wait(until: monotonicNanoseconds() + 1_000_000)
            let room = try? await watch.wait(writable: true)
            // Its end, which a reader sees.
            _ = far.take()
            let readable = try? await watch.wait()
            found.add([nothing == nil, room?.writable == true, readable?.readable == true])
        }
        #expect(found.all == [true, true, true])
        #expect(end.rawValue == near)
    }

    @Test("stop ends every wait, and those that begin afterwards")
    func ends() throws {
        let loop = try EventLoop()
        let (stop, idle, silent) = (try EventFD(), try EventFD(), try EventFD())
        let reasons = Notes<Bool>()
        let client = Client()
        let thread = try WorkerThread(name: "stopper", state: true) { _, _ in
            _ = idle.wait(timeoutMilliseconds: 30_000)
            stop.signal()
        }
        try loop.adopt {
            try loop.run(until: stop, for: client) {
                await withTaskGroup(of: Void.self) { group in
                    for deadline in [nil, UInt64.max] {
                        group.addTask {
                            let waiter = Waiter(loop)
                            let first = await waiter.wait(until: deadline)
                            let second = await waiter.wait()
                            reasons.add([first == .ended && second == .ended])
                        }
                    }
                    group.addTask {
                        let watch = DescriptorWatch(silent.rawValue, on: loop)
                        let event = try? await watch.wait()
                        reasons.add([event == nil])
                    }
                    idle.signal()
                }
            }
        }
        _ = thread.stop()
        #expect(reasons.all == [true, true, true])
        #expect(client.ends == 1)
        // It waits again when it runs again.
        try run(loop, try EventFD()) {
            let reason = await Waiter(loop).wait(until: monotonicNanoseconds() + 1)
            reasons.add([reason == .timeIsUp])
        }
        #expect(reasons.all.count { $0 } == 4)
    }
}
