import FuzzSupport
import Host
import VhostUser
import Virtio
import Virtqueue

/// What the thread of a `HostileBackEnd` does: a step of the script for each request.
final class HostileScript {
    /// What becomes of a request, in the low bits of a byte.
    enum Step: UInt8, CaseIterable {
        /// A good answer; one with a number, bytes or a header of the script's; bytes of the script's without a header; nothing.
        case well, number, payload, header, bytes, silence
    }
    /// In the same byte: a message goes out on the other channel before, and a descriptor comes with the answer.
    static let channelBit: UInt8 = 0x40
    static let descriptorBit: UInt8 = 0x80
    /// How long the front-end may say nothing, in milliseconds. Then it waits for what will not come, and is left.
    private static let idleness: Int32 = 5

    private let socket: OwnedDescriptor
    private let poller: Poller
    private let answers: Answers
    private var channel: OwnedDescriptor?
    private var isStopped = false
    private var isPacked = false

    init(_ socket: consuming OwnedDescriptor, _ answers: Answers, stop: EventFD) throws {
        try socket.setNonBlocking()
        poller = try Poller()
        try poller.add(socket.rawValue, token: 0)
        try poller.add(stop.rawValue, token: 1)
        self.socket = socket
        self.answers = answers
    }

    /// Answers until the script ends, or the front-end has nothing to say.
    func run() throws {
        while true {
            var passed = PassedDescriptors()
            guard let head = try read(MessageHeader.byteCount, &passed) else { return }
            let header = try MessageHeader(head.span)
            var none = PassedDescriptors()
            guard let payload = try read(header.size, &none), !answers.read({ $0.isAtEnd }) else { return }
            try answer(try FrontEndMessage(header, payload.span, descriptors: passed.count), header, &passed)
        }
    }

    private func read(_ size: Int, _ passed: inout PassedDescriptors) throws -> [UInt8]? {
        var bytes: [UInt8] = []
        while bytes.count < size {
            var chunk = [UInt8](repeating: 0, count: size - bytes.count)
            var span = chunk.mutableSpan
            var untyped = span.untyped
            var more = PassedDescriptors()
            do throws(SystemError) {
                let count = try socket.receive(into: &untyped, passed: &more)
                guard count > 0 else { return nil }
                if more.count > 0 { passed = more }
                bytes += chunk.prefix(count)
            } catch {
                guard error.errno == .wouldBlock, try wait() else { return nil }
            }
        }
        return bytes
    }

    private func wait() throws(SystemError) -> Bool {
        var isStopped = false
        let count = try poller.wait(timeoutMilliseconds: Self.idleness) { if $0.token == 1 { isStopped = true } }
        return count > 0 && !isStopped
    }

    // MARK: Answers

    private func answer(_ message: FrontEndMessage, _ header: MessageHeader, _ passed: inout PassedDescriptors) throws {
        let byte = answers.read { $0.byte() }
        if message == .setBackendRequestSocket { channel = passed.takeFirst() }
        if case .setFeatures(let features) = message { isPacked = Features(rawValue: features).contains(.ringPacked) }
        if case .setDeviceStateDescriptor(let transfer) = message, let pipe = passed.takeFirst() { try move(transfer, pipe) }
        if byte & Self.channelBit != 0 { try speak() }
        let wanted = message.request.hasReply || header.needsReply
        var reply = MessageHeader(request: header.request, isReply: true, size: 0)
        var payload = good(message).payload
        switch Step.allCases[Int(byte & 0x3f) % Step.allCases.count] {
        case .well: guard wanted else { return }
        case .number: payload = BackEndReply.number(answers.read { $0.number() }).payload
        case .payload: payload = answers.read { $0.take(Int($0.byte())) }
        case .header:
            let flags = answers.read { $0.byte() }
            reply.isReply = flags & 1 == 0
            reply.needsReply = flags & 2 != 0
            if flags & 4 != 0 { reply.request &+= 1 }
        case .bytes: return try send(answers.read { $0.take(Int($0.byte())) }, byte)
        case .silence: return
        }
        reply.size = payload.count
        try send(reply.bytes + payload, byte, file: message)
    }

    /// Sends, with a descriptor where the step says so, or where the request asks for one.
    private func send(_ bytes: [UInt8], _ byte: UInt8, file message: FrontEndMessage? = nil) throws {
        guard !bytes.isEmpty else { return }
        var passed = PassedDescriptors()
        if case .getInFlight = message { passed.append(try makeMemoryFile(name: "notes", size: Self.notesSize)) }
        if byte & Self.descriptorBit != 0 { passed.append(try makeMemoryFile(name: "other", size: 100)) }
        _ = try socket.send(bytes.span.untyped, passing: passed.rawValues)
    }

    private static let notesSize: UInt64 = 8192

    /// Bytes on the channel for the back-end's requests; without any in the script, a good request.
    private func speak() throws {
        let size = answers.read { $0.byte() }
        let bytes =
            size == 0
            ? MessageHeader(request: BackEndRequest.configurationChanged.rawValue, needsReply: true, size: 0).bytes
            : answers.read { $0.take(Int(size)) }
        switch channel {
        case .some(let socket): _ = try? socket.send(bytes.span.untyped, passing: [])
        case .none: break
        }
    }

    /// Writes a state of the script's, or lets the front-end write one to nobody.
    private func move(_ transfer: DeviceStateTransfer, _ pipe: borrowing OwnedDescriptor) throws {
        guard transfer.direction == .save else { return }
        try pipe.writeAll(answers.read { $0.take(Int($0.byte())) })
    }

    private func good(_ message: FrontEndMessage) -> BackEndReply {
        switch message {
        case .getFeatures: .number(Features.ours.union(.ringPacked).rawValue | ProtocolFeatures.announcement)
        case .getProtocolFeatures: .number(.max)
        case .getQueueCount: .number(UInt64(Kind.queueCount))
        case .getConfiguration(let access): .configuration(access)
        case .getRingBase(let ring): .ring(RingState(index: ring.index, value: isPacked ? 0x8000_8000 : 0))
        case .getInFlight(let wanted):
            .inFlight(InFlightDescription(size: Self.notesSize, offset: 0, queueCount: wanted.queueCount, queueSize: wanted.queueSize))
        case .setDeviceStateDescriptor: .number(0x100)
        case .getReason: .reason(StateRefusal(path: "size", expectation: "something else"))
        default: .number(0)
        }
    }
}
