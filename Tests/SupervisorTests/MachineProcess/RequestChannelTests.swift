import Host
import Schema
import Synchronization
import Testing
import Virtqueue

@testable import Supervisor

@Suite("The channels to a machine's process")
struct RequestChannelTests {
    /// What a channel was told of its failures.
    private final class Failures: Sendable {
        let seen = Mutex<[String]>([])
    }

    private final class Rig {
        let channel: RequestChannel
        let peer: OwnedDescriptor
        let failures: Failures

        init() throws {
            let pair = try SocketPair()
            let failures = Failures()
            self.failures = failures
            channel = try RequestChannel(try pair.first.duplicate()) { failure in failures.seen.withLock { $0.append("\(failure)") } }
            peer = try pair.second.duplicate()
        }

        /// Answers before it is asked, byte for byte.
        func answer(_ bytes: [UInt8]) throws { #expect(try peer.send(bytes.span.untyped) == bytes.count) }
    }

    private static func message(_ text: String) -> [UInt8] {
        let length = UInt32(text.utf8.count)
        return (0..<4).map { UInt8(truncatingIfNeeded: length >> ($0 * 8)) } + Array(text.utf8)
    }

    private static func count(_ slot: Slot<PassedDescriptors>) -> Int? {
        switch slot.take() {
        case .some(let descriptors): descriptors.count
        case .none: nil
        }
    }

    @Test("A request comes whole, with its descriptors, however many bytes it has")
    func request() throws {
        let pair = try SocketPair()
        let sender = Slot(try pair.first.duplicate())
        let text = String(repeating: "x", count: 1 << 20)
        let pipe = try Pipe()
        let end = pipe.writer.rawValue
        let thread = try WorkerThread(name: "sender", state: true) { _, _ in
            guard let socket = sender.take(), let stream = try? MessageStream(socket) else { return }
            try? stream.send(["text": .string(text)], passing: [end])
            try? stream.send(["text": "second"])
        }
        let stream = try MessageStream(try pair.second.duplicate())
        let first = try stream.receive(within: 10_000)
        #expect(first.message == ["text": .string(text)])
        let count = Self.count(first.descriptors)
        #expect(count == 1)
        let second = try stream.receive(within: 10_000)
        #expect(second.message == ["text": "second"])
        let none = Self.count(second.descriptors)
        #expect(none == 0)
        _ = thread.stop()
    }

    @Test("Answers, refusals and signs of progress")
    func answers() throws {
        let rig = try Rig()
        try rig.answer(Self.message(#"{"working":true}"#) + Self.message(#"{"done":[1]}"#))
        guard case .done([1])? = rig.channel.ask(["request": "a"], within: 10_000) else {
            throw StateError(path: "", expectation: "an answer")
        }
        try rig.answer(Self.message(#"{"refused":"No.","code":66,"device":"disk"}"#))
        guard case .refused(let error, let device)? = rig.channel.ask(["request": "a"], within: 10_000) else {
            throw StateError(path: "", expectation: "a refusal")
        }
        #expect(error == VMError(.resource, "No."))
        #expect(device == "disk")
        #expect(rig.failures.seen.withLock { $0 } == [])
    }

    @Test(
        "A process that misbehaves is told of once, and never asked again",
        arguments: [
            (Self.message("{"), "broken"), (Self.message("{}"), "broken"), (Self.message(#"{"refused":"x","code":1000}"#), "broken"),
            ([0xff, 0xff, 0xff, 0xff], "broken"), ([], "late"),
        ])
    func misdeeds(_ bytes: [UInt8], _ failure: String) throws {
        let rig = try Rig()
        if !bytes.isEmpty { try rig.answer(bytes) }
        for _ in 0..<2 { if let answer = rig.channel.ask(["request": "a"], within: 20) { Issue.record("\(answer)") } }
        rig.channel.tell(["request": "a"])
        #expect(rig.failures.seen.withLock { $0 } == [failure])
    }

    @Test("What is no request is refused at once, and the next one is carried out")
    func unknownRequest() throws {
        let pair = try SocketPair()
        let served = try ServedChannel(inherited: pair.second.duplicate().release())
        let thread = try WorkerThread(name: "served", state: true) { _, _ in served.serve { (_, _) in "carried out" } }
        let failures = Failures()
        let channel = try RequestChannel(try pair.first.duplicate()) { failure in failures.seen.withLock { $0.append("\(failure)") } }
        guard case .refused(let error, nil)? = channel.ask(["request": "sing"], within: 10_000) else {
            throw StateError(path: "", expectation: "a refusal")
        }
        #expect(error.message.hasPrefix("The machine's process does not understand what it is asked: request: expected one of"))
        guard case .done("carried out")? = channel.ask(MachineRequest.report.json, within: 10_000) else {
            throw StateError(path: "", expectation: "an answer")
        }
        #expect(failures.seen.withLock { $0 } == [])
        pair.first.hangUp()
        _ = thread.stop()
    }

    @Test("Signs of progress do not put an end off for ever")
    func endlessProgress() throws {
        let rig = try Rig()
        try rig.answer(Self.message(#"{"working":true}"#) + Self.message(#"{"done":1}"#))
        if let answer = rig.channel.ask(["request": "a"], within: 10_000, atMost: -1) { Issue.record("\(answer)") }
        #expect(rig.failures.seen.withLock { $0 } == ["late"])
    }

    /// Sends the same bytes again and again, until nobody reads them or the time is up: a test that fails is to end, too.
    private static func repeating(_ bytes: [UInt8], from peer: borrowing OwnedDescriptor) throws -> WorkerThread<Bool> {
        let socket = Slot(try peer.duplicate())
        let deadline = MonotonicTime.now + 5000
        return try WorkerThread(name: "peer", state: true) { _, stop in
            guard let socket = socket.take() else { return }
            while MonotonicTime.now < deadline, !stop.waitWithoutDraining(milliseconds: 10) {
                guard (try? socket.send(bytes.span.untyped)) != nil else { return }
            }
            socket.hangUp()
        }
    }

    @Test("A process that shows progress for ever does not keep whoever asks, whether progress is expected or not")
    func progressForEver() throws {
        let bounds: [(within: Int64, most: Int64?)] = [(100, nil), (10_000, 100)]
        for bound in bounds {
            let rig = try Rig()
            let peer = try Self.repeating(Self.message(#"{"working":true}"#), from: rig.peer)
            if let answer = rig.channel.ask(["request": "a"], within: bound.within, atMost: bound.most) { Issue.record("\(answer)") }
            #expect(rig.failures.seen.withLock { $0 } == ["late"])
            _ = peer.stop()
        }
    }

    @Test("Signs of progress give a request more time than one of them has")
    func progressOfSomeLength() throws {
        let rig = try Rig()
        let begin = MonotonicTime.now
        let peer = try Self.repeating(Self.message(#"{"working":true}"#), from: rig.peer)
        if let answer = rig.channel.ask(["request": "a"], within: 200, atMost: 600) { Issue.record("\(answer)") }
        #expect(MonotonicTime.now - begin >= 600)
        _ = peer.stop()
    }

    @Test("A message that trickles does not keep whoever reads it", arguments: [[], [0xff, 0, 0, 0]] as [[UInt8]])
    func trickle(_ head: [UInt8]) throws {
        let pair = try SocketPair()
        let stream = try MessageStream(try pair.first.duplicate(), patience: 100)
        if !head.isEmpty { #expect(try pair.second.send(head.span.untyped) == 4) }
        // The length of a text that is long, and then its bytes.
        let peer = try Self.repeating([1], from: pair.second)
        #expect(throws: MessageStream.Failure.late) { _ = try stream.receive(within: 10_000).message }
        _ = peer.stop()
    }

    @Test("A process that leaves in the middle of an answer, or before it")
    func leaving() throws {
        let beginnings: [[UInt8]] = [[], [1, 0], Array(Self.message("{}").dropLast())]
        for bytes in beginnings {
            let rig = try Rig()
            let (channel, failures) = (rig.channel, rig.failures)
            if !bytes.isEmpty { try rig.answer(bytes) }
            rig.peer.hangUp()
            if let answer = channel.ask(["request": "a"], within: 10_000) { Issue.record("\(answer)") }
            #expect(failures.seen.withLock { $0 } == ["ended"])
        }
    }
}
