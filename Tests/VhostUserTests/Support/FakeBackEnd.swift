import Glibc
import Host
import Synchronization
import Virtio

@testable import VhostUser

/// A back-end that serves nothing: it answers as its script says.
final class FakeBackEnd: Sendable {
    /// What it does with a message instead of answering well.
    enum Twist: Sendable, Equatable {
        /// Goes away without an answer.
        case leave
        /// Answers neither this message nor any later one.
        case silence
        /// Answers another request.
        case wrongRequest
        /// Sends its answer without the mark of one.
        case noReply
        /// Leaves the last byte of the answer away, or adds one.
        case short, long
        /// Sends a header of version 3, one that announces too much, or half an answer before it leaves.
        case badVersion, hugeSize, cut
        /// Answers that.
        case answer(BackEndReply)
    }

    /// What it claims to be, and where it goes astray.
    struct Script: Sendable {
        var features: UInt64 = Features.ours.union(.ringPacked).rawValue | ProtocolFeatures.announcement
        var protocolFeatures = ProtocolFeatures.servedToAll.subtracting([.inFlight, .deviceState])
        var queueCount: UInt64 = 2
        /// Where its split rings stand when they are stopped.
        var ringBase: UInt32 = 0
        /// By the message's number, from 0 on.
        var steps: [Int: Twist] = [:]
        /// By request.
        var requests: [FrontEndRequest: Twist] = [:]
    }

    private let core: FakeCore
    private let frontEnd: Slot<OwnedDescriptor>
    private let worker: WorkerThread<Bool>

    /// Begins to answer on a thread of its own.
    init(_ script: Script = Script()) throws {
        let core = FakeCore(script)
        self.core = core
        let pair = try SocketPair()
        frontEnd = Slot(try pair.first.duplicate())
        let backEnd = Slot(try pair.second.duplicate())
        worker = try WorkerThread(name: "fake", state: true) { _, stop in
            // What fails here the other side sees.
            if let socket = backEnd.take(), let peer = try? RawPeer(socket, stop: stop) { try? core.serve(peer) }
        }
    }

    /// What a front-end connects to: once.
    func socket() throws -> OwnedDescriptor {
        guard let socket = frontEnd.take() else { throw Timeout("a second connection") }
        return socket
    }

    /// The features that were negotiated, each time.
    var negotiated: [UInt64] { core.state.withLock { $0.negotiated } }

    /// Where it was told that rings stand, in order.
    var bases: [RingState] { core.state.withLock { $0.bases } }

    /// Goes away.
    func leave() { _ = worker.stop() }

    /// What SET_VRING_ENABLE has said, in order: the queue and 0 or 1.
    var enables: [RingState] { core.state.withLock { $0.enables } }

    /// The requests that have come, in order.
    var requests: [FrontEndRequest] { core.state.withLock { $0.requests } }

    /// Waits until a request has come; false when it does not.
    func wait(for request: FrontEndRequest) -> Bool {
        let deadline = MonotonicTime.now + Timeout.patience
        while !requests.contains(request) {
            guard MonotonicTime.now < deadline else { return false }
            sched_yield()
        }
        return true
    }

    /// The channel on which a back-end asks, once the front-end has given it.
    func channel() throws -> RawPeer {
        guard let socket = core.channel.take() else { throw Timeout("the channel") }
        return try RawPeer(socket)
    }

    /// From now on it does this before it answers a request.
    func before(_ request: FrontEndRequest, _ body: @escaping @Sendable () -> Void) { core.state.withLock { $0.hooks[request] = body } }

    /// From now on it does this with a request.
    func twist(_ request: FrontEndRequest, _ twist: Twist) { core.state.withLock { $0.twists[request] = twist } }

    /// Changes what it will say of itself.
    func set(configuration: [UInt8]? = nil, status: UInt64 = 0) {
        core.state.withLock {
            $0.configuration = configuration ?? $0.configuration
            $0.status = status
        }
    }
}

/// What the thread of a `FakeBackEnd` has.
private final class FakeCore: Sendable {
    typealias Twist = FakeBackEnd.Twist

    struct State {
        var requests: [FrontEndRequest] = []
        var negotiated: [UInt64] = []
        var enables: [RingState] = []
        var bases: [RingState] = []
        var twists: [FrontEndRequest: Twist] = [:]
        var hooks: [FrontEndRequest: @Sendable () -> Void] = [:]
        var configuration: [UInt8] = (0..<60).map { UInt8($0) }
        var status: UInt64 = 0
        /// Whether packed rings were negotiated.
        var isPacked = false
    }

    let state = Mutex(State())
    let channel = Slot<OwnedDescriptor>()
    /// Its end of the pipe for a state, which it neither reads nor writes.
    let stateEnd = Slot<OwnedDescriptor>()
    private let script: FakeBackEnd.Script

    init(_ script: FakeBackEnd.Script) { self.script = script }

    func serve(_ peer: RawPeer) throws {
        var step = 0
        var isSilent = false
        while var received = try peer.receive() {
            let message = try FrontEndMessage(received.header, received.payload.span, descriptors: received.descriptors.count)
            state.withLock {
                $0.requests.append(message.request)
                if case .setRingEnable(let ring) = message { $0.enables.append(ring) }
                if case .setRingBase(let ring) = message { $0.bases.append(ring) }
                if case .setFeatures(let features) = message {
                    $0.isPacked = Features(rawValue: features).contains(.ringPacked)
                    $0.negotiated.append(features)
                }
            }
            if message == .setBackendRequestSocket, let socket = received.descriptors.takeFirst() { channel.put(socket) }
            if case .setDeviceStateDescriptor = message, let end = received.descriptors.takeFirst() { stateEnd.put(end) }
            state.withLock { $0.hooks[message.request] }?()
            let twist = script.steps[step] ?? state.withLock { $0.twists[message.request] } ?? script.requests[message.request]
            step += 1
            if twist == .leave { return }
            if twist == .silence { isSilent = true }
            guard !isSilent, let answer = answer(message, received.header.needsReply) else { continue }
            guard try send(answer, to: message.request, twist, peer) else { return }
        }
    }

    /// False when it leaves afterwards.
    private func send(_ answer: BackEndReply, to request: FrontEndRequest, _ twist: Twist?, _ peer: RawPeer) throws -> Bool {
        var payload = answer.payload
        var header = MessageHeader(request: request.rawValue, isReply: true, size: payload.count)
        switch twist {
        case .wrongRequest: header.request += 1
        case .noReply: header.isReply = false
        case .short: payload.removeLast()
        case .long: payload.append(0)
        case .hugeSize: return try peer.sendAndStay(bytes: Self.bytes(of: header, flags: 5, size: 5000))
        case .badVersion: return try peer.sendAndStay(bytes: Self.bytes(of: header, flags: 7, size: 8) + payload)
        case .cut:
            try peer.send(bytes: Array((header.bytes + payload).dropLast(3)))
            return false
        case .answer(let other): payload = other.payload
        case .leave, .silence, nil: break
        }
        header.size = payload.count
        try peer.send(header, payload)
        return true
    }

    private static func bytes(of header: MessageHeader, flags: UInt32, size: UInt32) -> [UInt8] {
        [header.request, flags, size].flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    }

    /// The right answer; nil where none is wanted.
    private func answer(_ message: FrontEndMessage, _ wanted: Bool) -> BackEndReply? {
        switch message {
        case .getFeatures: .number(script.features)
        case .getProtocolFeatures: .number(script.protocolFeatures.rawValue)
        case .getQueueCount: .number(script.queueCount)
        case .getConfiguration(let access):
            .configuration(
                ConfigurationAccess(offset: access.offset, bytes: Array(state.withLock { $0.configuration }.prefix(access.bytes.count))))
        case .getRingBase(let ring):
            .ring(RingState(index: ring.index, value: state.withLock { $0.isPacked } ? 0x8000_8000 : script.ringBase))
        case .getStatus: .number(state.withLock { $0.status })
        case .getMaxMemorySlots: .number(32)
        // As some do, whatever that means.
        case .setLogBase(let log): .number(log.size)
        default: wanted ? .number(0) : nil
        }
    }
}

extension RawPeer {
    /// Sends bytes; true.
    func sendAndStay(bytes: [UInt8]) throws -> Bool {
        try send(bytes: bytes)
        return true
    }
}
