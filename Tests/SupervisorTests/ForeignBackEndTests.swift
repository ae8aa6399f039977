import Host
import Synchronization
import Testing
import VhostUser

@testable import Supervisor

/// A machine with a device behind somebody's back-end: notes what it is told.
private final class FakeHolder: DeviceHolder {
    struct State {
        var events: [String] = []
        var failure: String?
        var obstacle: String?
        /// How many new back-ends are refused.
        var refusals = 0
    }
    let state = Mutex(State())
    let news: EventFD

    init() throws { news = try EventFD() }

    private func note(_ event: String) {
        state.withLock { $0.events.append(event) }
        news.signal()
    }

    func recover(_ id: String, turn: Int, _ socket: borrowing OwnedDescriptor) throws(VMError) {
        let isRefused = state.withLock { state in
            defer { state.refusals -= 1 }
            return state.refusals > 0
        }
        note(isRefused ? "refused" : "recovered")
        if isRefused { throw VMError(.failure, "It is another disk.") }
    }
    func handOver(_ id: String, turn: Int, to socket: borrowing OwnedDescriptor) throws(VMError) {}
    func giveUp(_ id: String) { note("given up") }
    func failure(of id: String) throws(VMError) -> String? { state.withLock { $0.failure } }
    func noteLeft(_ id: String) throws(VMError) -> VhostUserFrontend.Departure {
        note("left")
        return VhostUserFrontend.Departure(obstacle: state.withLock { $0.obstacle })
    }

    /// Waits until exactly these things have happened.
    func expect(_ events: [String]) throws {
        let deadline = MonotonicTime.now + 30_000
        while state.withLock({ $0.events.count }) < events.count, MonotonicTime.now < deadline {
            _ = news.wait(timeoutMilliseconds: 1000)
        }
        #expect(state.withLock { $0.events } == events)
    }
}

/// A back-end that takes connections at a path, and leaves when it is told to.
private final class FakePeer {
    let path: String
    private var listener: OwnedDescriptor?
    private var connection: OwnedDescriptor?

    init() throws {
        path = "/tmp/swvmm-peer-\(hexString(try randomBytes(8))).sock"
        try listen()
    }

    deinit { removeFile(path) }

    func listen() throws { listener = try UnixSocket.listen(at: path) }
    func accept() throws {
        guard let listening = listener.take() else { return }
        connection = try UnixSocket.accept(on: listening)
        listener = consume listening
    }
    /// Ends with all that it has.
    func leave() {
        removeFile(path)
        listener = nil
        connection = nil
    }
    /// Lets go of the connection.
    func drop() { connection = nil }
}

@Suite("Back-ends of others, watched from outside")
struct ForeignBackEndTests {
    private func start(
        _ policy: CrashPolicy, maxRestarts: Int = 10, absence: Int64 = 20_000, fail: @escaping @Sendable (VMError) -> Void = { _ in }
    ) throws -> (ForeignBackEnd, FakePeer, FakeHolder) {
        let peer = try FakePeer()
        let socket = try UnixSocket.connect(to: peer.path)
        try peer.accept()
        let watch = try ForeignBackEnd(
            id: "disk", path: peer.path, socket: socket, CrashSettings(policy: policy, maxRestarts: maxRestarts), absence: absence)
        let holder = try FakeHolder()
        watch.use(holder)
        try watch.begin(fail: fail)
        return (watch, peer, holder)
    }

    @Test("One that leaves is noticed at once, and waited for, again and again")
    func comesBack() throws {
        let (watch, peer, holder) = try start(.restart)
        defer { watch.stop() }
        peer.leave()
        try holder.expect(["left"])
        try peer.listen()
        try peer.accept()
        try holder.expect(["left", "recovered"])
        peer.drop()
        try holder.expect(["left", "recovered", "left", "recovered"])
    }

    @Test("One whose successor is refused lets go before the next attempt")
    func refused() throws {
        let (watch, peer, holder) = try start(.restart)
        defer { watch.stop() }
        holder.state.withLock { $0.refusals = 1 }
        peer.drop()
        try holder.expect(["left", "refused"])
        // It has the new connection still.
        try peer.accept()
        try holder.expect(["left", "refused"])
        peer.drop()
        try holder.expect(["left", "refused", "left", "recovered"])
    }

    @Test("Another one is not let near the guest's RAM before the first has let go, and not at all when it never does")
    func holdsOn() throws {
        let (watch, peer, holder) = try start(.restart, absence: 300)
        defer { watch.stop() }
        // A complaint about a connection that works is old.
        watch.suspect()
        holder.state.withLock { $0.failure = "It breaks rules." }
        watch.suspect()
        try holder.expect(["given up"])
        withExtendedLifetime(peer) {}
    }

    @Test("The device is given up when nothing can take its place, when nothing comes, and when it happens too often")
    func givenUp() throws {
        let (unique, peer, holder) = try start(.restart)
        defer { unique.stop() }
        holder.state.withLock { $0.obstacle = "Requests were in flight" }
        peer.drop()
        try holder.expect(["left", "given up"])
        let (lonely, gone, other) = try start(.restart, absence: 200)
        defer { lonely.stop() }
        gone.leave()
        try other.expect(["left", "given up"])
        let (restless, restlessPeer, third) = try start(.restart, maxRestarts: 0)
        defer { restless.stop() }
        restlessPeer.drop()
        try third.expect(["given up"])
    }

    @Test("onCrash: fail-device, stop")
    func policies() throws {
        let (failing, peer, holder) = try start(.failDevice)
        defer { failing.stop() }
        peer.drop()
        try holder.expect(["given up"])
        let said = try EventFD()
        let box = Box()
        let (ending, last, other) = try start(.stop) { error in
            box.sentence.withLock { $0 = error.message }
            said.signal()
        }
        defer { ending.stop() }
        last.drop()
        #expect(said.wait(timeoutMilliseconds: 30_000))
        try other.expect(["given up"])
        #expect(
            box.sentence.withLock { $0 }
                == "Device \"disk\" has failed: its vhost-user back-end at \(last.path) is lost: The back-end has left.")
    }

    @Test("Nobody is waited for when the VM is about to end")
    func ending() throws {
        let (watch, peer, holder) = try start(.restart)
        watch.noMoreRestarts()
        peer.leave()
        try holder.expect(["given up"])
        watch.stop()
    }

    private final class Box: Sendable {
        let sentence = Mutex("")
    }
}
