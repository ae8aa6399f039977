import FuzzSupport
import GuestMemory
import Glibc
import Host
import VhostUser
import Virtio
import Virtqueue

/// The front-end of a script: what it sends, passes, and writes into RAM.
///
/// A step is a byte that says what it is (`Step`), with its arguments behind it.
final class Conversation {
    enum Step: UInt8, CaseIterable {
        case message, greet, greetPacked, start, stop, write, describe, publish, kick, settle, bytes
    }

    /// More would only make inputs slow, and answers that nobody reads fill a socket.
    private static let mostSteps = 100
    /// How often another thread gets its turn before nobody waits for it any more: a device hears its doorbell at once, if it has it.
    private static let turns = 100
    /// And how long that may take on a busy machine, where a turn is long, in milliseconds.
    private static let patience: Int64 = 3

    private let socket: OwnedDescriptor
    private let ram: OwnedDescriptor
    private let doorbells: [EventFD]
    private let call: EventFD
    private var rings: Rings

    init(_ socket: consuming OwnedDescriptor, queueSizes: [UInt16]) throws {
        try socket.setNonBlocking()
        self.socket = socket
        let memory = try GuestMemory(ranges: [0..<Rings.ramSize], isShared: true)
        ram = try OwnedDescriptor.duplicating(inherited: memory.rawFileDescriptor ?? -1)
        rings = Rings(memory, count: queueSizes.count)
        doorbells = try queueSizes.map { _ in try EventFD() }
        call = try EventFD()
    }

    /// Does what the script says, until it or the connection ends.
    func run(_ script: inout Script) {
        var steps = 0
        while !script.isAtEnd, steps < Self.mostSteps {
            steps += 1
            // A back-end that has had enough has left.
            guard (try? perform(Step.allCases[Int(script.byte()) % Step.allCases.count], &script)) != nil, socket.discard() else { return }
        }
    }

    /// Leaves, and waits until the back-end has as well.
    func end() throws {
        socket.hangUp()
        let poller = try Poller()
        try poller.add(socket.rawValue, token: 0)
        while socket.discard() { try poller.wait { _ in } }
    }

    private func perform(_ step: Step, _ script: inout Script) throws {
        switch step {
        case .message: try message(&script)
        case .greet: try greet([.version1, .indirectDescriptors])
        case .greetPacked: try greet([.version1, .indirectDescriptors, .eventIndex, .ringPacked])
        case .start: try start(queue(&script))
        case .stop: try send(.getRingBase(RingState(index: UInt32(queue(&script)), value: 0)))
        case .write:
            let address = UInt64(script.number(UInt16.self))
            let bytes = script.take(Int(script.byte()))
            // What does not fit is left away.
            _ = rings.memory.write(bytes, at: address)
        case .describe:
            let queue = queue(&script)
            let slot = script.byte()
            rings.describe(
                queue, slot: slot & 0x3f, address: UInt64(script.number(UInt16.self)), count: UInt32(script.number(UInt16.self)),
                flags: script.number(), link: UInt16(script.byte()), packed: slot & 0x40 != 0)
        case .publish: rings.publish(queue(&script), head: UInt16(script.byte()))
        case .kick: kick(queue(&script))
        case .settle: yield { try socket.peerHasReadAll() }
        case .bytes: try send(script.take(Int(script.byte())), [])
        }
    }

    private func queue(_ script: inout Script) -> Int { Int(script.byte()) % doorbells.count }

    private func kick(_ queue: Int) {
        doorbells[queue].signal()
        yield { !doorbells[queue].isSignalled }
    }

    private func yield(until isDone: () throws -> Bool) {
        let deadline = MonotonicTime.now + Self.patience
        for _ in 0..<Self.turns {
            if (try? isDone()) != false || MonotonicTime.now > deadline { return }
            sched_yield()
        }
    }

    // MARK: Messages

    /// Any request with any payload and any descriptors: its number among all, flags, the size, the payload, the number of descriptors and
    /// their kinds.
    private func message(_ script: inout Script) throws {
        let all = FrontEndRequest.allCases
        let request = all[Int(script.byte()) % all.count]
        let flags = script.byte()
        let payload = script.take(Int(script.number(UInt16.self)) % (MessageHeader.mostPayload + 1))
        let header = MessageHeader(
            request: request.rawValue, isReply: flags & 2 != 0, needsReply: flags & 1 != 0, size: payload.count)
        var passed = PassedDescriptors()
        for _ in 0..<script.byte() % 40 {
            var kind = Passed.of(script.byte())
            // The end of a state is waited for, and an event has none.
            if request == .setDeviceStateDescriptor, kind == .event || kind == .doorbell { kind = .reader }
            passed.append(try kind.make(ram, doorbells[0], &script))
        }
        try send(header.bytes + payload, passed.rawValues)
    }

    private func send(_ message: FrontEndMessage, _ descriptors: [Int32] = []) throws { try send(message.bytes(), descriptors) }

    private func send(_ bytes: [UInt8], _ descriptors: [Int32]) throws {
        guard !bytes.isEmpty else { return }
        let count = try socket.send(bytes.span.untyped, passing: descriptors)
        guard count == bytes.count else { throw SystemError("send", .wouldBlock) }
    }

    /// What every front-end begins with, and RAM.
    private func greet(_ features: Features) throws {
        try send(.setProtocolFeatures(Self.protocolFeatures.rawValue))
        try send(.setFeatures(features.rawValue | ProtocolFeatures.announcement))
        try send(.setMemoryTable([Rings.region]), [ram.rawValue])
    }

    private static let protocolFeatures: ProtocolFeatures = [
        .multiQueue, .replyAck, .backendRequests, .configuration, .inFlight, .resetDevice, .memorySlots, .status, .deviceState,
    ]

    /// Everything that makes a queue run.
    private func start(_ queue: Int) throws {
        let index = UInt32(queue)
        try send(.setRingSize(RingState(index: index, value: UInt32(Rings.size))))
        try send(.setRingAddresses(Rings.addresses(queue)))
        try send(.setRingCall(RingDescriptor(index: index, isPresent: true)), [call.rawValue])
        try send(.setRingKick(RingDescriptor(index: index, isPresent: true)), [doorbells[queue].rawValue])
        try send(.setRingEnable(RingState(index: index, value: 1)))
    }
}
