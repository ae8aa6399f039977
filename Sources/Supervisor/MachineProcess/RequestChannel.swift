import Host
import Schema
import Synchronization

/// The supervisor's end of a socket to its machine's process: one request after the other, and each has its answer before the next.
///
/// A channel on which an answer was missing is out of step for ever, so it is closed, and `failed` is told why.
final class RequestChannel: Sendable {
    private let stream: Mutex<MessageStream?>
    private let failed: @Sendable (MessageStream.Failure) -> Void

    init(_ socket: consuming OwnedDescriptor, failed: @escaping @Sendable (MessageStream.Failure) -> Void) throws(SystemError) {
        stream = Mutex(try MessageStream(socket))
        self.failed = failed
    }

    /// What a process answers.
    enum Answer: Sendable {
        case done(JSONValue)
        case refused(VMError, device: String?)
    }

    /// Sends a request and waits for its answer; every sign of progress begins the `milliseconds` anew, but for no longer than `most`: a process
    /// that was taken over could show progress for ever. Where no `most` is given, no progress is expected, and signs of it gain nothing. nil:
    /// there will be no answer.
    func ask(
        _ request: JSONValue, passing descriptors: [Int32] = [], within milliseconds: Int64, atMost most: Int64? = nil
    ) -> Answer? {
        do {
            return try stream.withLock { (stream) throws(MessageStream.Failure) in
                guard stream != nil else { return nil }
                do throws(MessageStream.Failure) {
                    return try Self.exchange(&stream, request, descriptors, milliseconds, most ?? milliseconds)
                } catch {
                    stream = nil
                    throw error
                }
            }
        } catch {
            failed(error)
            return nil
        }
    }

    private static func exchange(
        _ stream: inout MessageStream?, _ request: JSONValue, _ descriptors: [Int32], _ milliseconds: Int64, _ most: Int64
    ) throws(MessageStream.Failure) -> Answer? {
        try stream?.send(request, passing: descriptors)
        // What takes its time to come across is not held against the answer.
        let deadline = MonotonicTime.now + most
        while true {
            guard let text = try stream?.receive(within: min(milliseconds, deadline - MonotonicTime.now)).message else { return nil }
            guard let answer = MachineAnswer(text) else { throw .broken }
            switch answer {
            case .working: if MonotonicTime.now >= deadline { throw .late }
            case .done(let value): return .done(value)
            case .refused(let error, let device): return .refused(error, device: device)
            }
        }
    }

    /// Sends a request that has no answer.
    func tell(_ request: JSONValue) {
        do {
            try stream.withLock { (stream) throws(MessageStream.Failure) in try stream?.send(request) }
        } catch {
            failed(error)
        }
    }

    /// Closes the channel, which tells the process to end.
    func close() { stream.withLock { $0 = nil } }
}

/// An answer as it travels.
enum MachineAnswer: Sendable {
    /// Not yet, but something has been done.
    case working
    /// Done.
    case done(JSONValue)
    /// Not done; perhaps because of a device.
    case refused(VMError, device: String?)

    var json: JSONValue {
        switch self {
        case .working: ["working": true]
        case .done(let value): ["done": value]
        case .refused(let error, let device):
            [
                "refused": .string(error.message), "code": .integer(Int64(error.code.rawValue)),
                "device": device.map { .string($0) } ?? .null,
            ]
        }
    }

    /// Nil for anything else.
    init?(_ message: JSONValue) {
        guard case .object(let members) = message else { return nil }
        if members["working"] != nil {
            self = .working
        } else if let value = members["done"] {
            self = .done(value)
        } else if case .string(let sentence)? = members["refused"], case .integer(let number)? = members["code"],
            let code = ExitCode(rawValue: Int32(truncatingIfNeeded: number))
        {
            var device: String?
            if case .string(let id)? = members["device"] { device = id }
            self = .refused(VMError(code, sentence), device: device)
        } else {
            return nil
        }
    }
}
