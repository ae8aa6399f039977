package import Host
import Synchronization

/// A front-end's connection to a back-end: requests go out one at a time, and each is answered in time or is the last.
///
/// A reply that is late would be taken for the answer to the next request, so after the first failure nothing is sent any more: whoever
/// wants to go on needs a new connection.
package final class BackEndConnection: Sendable {
    private struct State: ~Copyable {
        let connection: MessageConnection
        var acknowledges = false
    }

    private let state: Mutex<State>
    /// Apart from the state, whose lock is held while an answer is waited for.
    private let ending = Mutex<VhostUserError?>(nil)
    private let stop: EventFD
    private let patience: Int64
    private let failed: (@Sendable (VhostUserError) -> Void)?

    /// Takes a connected socket. A back-end gets `patience` milliseconds for each answer. `failed` is called once, with the reason, when the
    /// connection cannot be used any more.
    package init(
        _ socket: consuming OwnedDescriptor, patience: Int64, failed: (@Sendable (VhostUserError) -> Void)? = nil
    ) throws(SystemError) {
        let stop = try EventFD()
        self.stop = stop
        self.patience = patience
        self.failed = failed
        state = Mutex(State(connection: try MessageConnection(socket, stop: stop)))
    }

    /// What ended the connection; nil while it works.
    package var failure: VhostUserError? { ending.withLock { $0 } }

    /// From now on every request asks how it went (REPLY_ACK).
    package func acknowledgeAll() { state.withLock { $0.acknowledges = true } }

    /// Whether the back-end has closed its end; false while an answer of it is waited for, which finds out by itself.
    package var isHungUp: Bool { state.withLockIfAvailable { $0.connection.isHungUp } ?? false }

    /// The connection is of no use any more, from any thread: a request that waits for its answer gives up.
    package func fail(_ error: VhostUserError) { if note(error) { failed?(error) } }

    /// Ends the connection without a word: nobody needs it any more.
    package func close() { note(VhostUserError(.departure, "The connection was closed.")) }

    /// Ends the connection without a word: whoever watches it knows that the back-end has left.
    func noteLeft() { note(VhostUserError(.silence, "The back-end has left.")) }

    @discardableResult
    private func note(_ error: VhostUserError) -> Bool {
        let isFirst = ending.withLock { ending in
            defer { ending = ending ?? error }
            return ending == nil
        }
        stop.signal()
        return isFirst
    }

    /// Sends a request that has no answer of its own.
    package func send(_ message: FrontEndMessage, passing descriptors: [Int32] = []) throws(VhostUserError) {
        let reply = try exchange(message, descriptors)
        if case .number(let result)? = reply, result != 0 {
            throw VhostUserError(.device, "The back-end refuses \(message.request.name) (\(result)).")
        }
    }

    /// Asks for a number.
    package func number(_ message: FrontEndMessage, passing descriptors: [Int32] = []) throws(VhostUserError) -> UInt64 {
        guard case .number(let value)? = try exchange(message, descriptors) else { throw Self.unanswered(message) }
        return value
    }

    /// Stops a ring; where it stands.
    package func base(of queue: UInt32) throws(VhostUserError) -> UInt32 {
        let message = FrontEndMessage.getRingBase(RingState(index: queue, value: 0))
        guard case .ring(let state)? = try exchange(message, []) else { throw Self.unanswered(message) }
        guard state.index == queue else {
            // Nobody knows which of the two has stopped.
            let error = VhostUserError.violation("GET_VRING_BASE for queue \(queue) was answered for queue \(state.index).")
            fail(error)
            throw error
        }
        return state.value
    }

    /// Reads `count` bytes of configuration space.
    package func configuration(at offset: UInt32 = 0, count: Int) throws(VhostUserError) -> [UInt8] {
        let message = FrontEndMessage.getConfiguration(
            ConfigurationAccess(offset: offset, bytes: Array(repeating: 0, count: count)))
        guard case .configuration(let access)? = try exchange(message, []) else { throw Self.unanswered(message) }
        guard let access, access.offset == offset, access.bytes.count == count else {
            throw .violation("The back-end has no configuration space of \(count) bytes.")
        }
        return access.bytes
    }

    /// Asks a back-end of ours why it has refused a state.
    func reason() throws(VhostUserError) -> StateRefusal {
        guard case .reason(let refusal)? = try exchange(.getReason, []) else { throw Self.unanswered(.getReason) }
        return refusal
    }

    private static func unanswered(_ message: FrontEndMessage) -> VhostUserError {
        .violation("\(message.request.name) was not answered.")
    }

    private func exchange(_ message: FrontEndMessage, _ descriptors: [Int32]) throws(VhostUserError) -> BackEndReply? {
        var passed = PassedDescriptors()
        return try exchange(message, descriptors, &passed)
    }

    private func exchange(
        _ message: FrontEndMessage, _ descriptors: [Int32], _ passed: inout PassedDescriptors
    ) throws(VhostUserError) -> BackEndReply? {
        do throws(VhostUserError) {
            return try state.withLock { (state) throws(VhostUserError) -> BackEndReply? in
                if let failure { throw failure }
                return try Self.exchange(message, descriptors, &passed, state, patience)
            }
        } catch {
            fail(error)
            throw error
        }
    }

    /// Asks for memory in which requests in flight are noted.
    func inFlight(_ wanted: InFlightDescription) throws(VhostUserError) -> (file: Slot<OwnedDescriptor>, description: InFlightDescription) {
        var passed = PassedDescriptors()
        guard case .inFlight(let description)? = try exchange(.getInFlight(wanted), [], &passed) else {
            throw Self.unanswered(.getInFlight(wanted))
        }
        guard let file = passed.takeFirst() else { throw .violation("GET_INFLIGHT_FD was answered without a descriptor.") }
        return (Slot(file), description)
    }

    private static func exchange(
        _ message: FrontEndMessage, _ descriptors: [Int32], _ passed: inout PassedDescriptors, _ state: borrowing State, _ patience: Int64
    ) throws(VhostUserError) -> BackEndReply? {
        let request = message.request
        let payload = message.payload
        let wantsReply = request.hasReply || state.acknowledges
        let header = MessageHeader(
            request: request.rawValue, needsReply: state.acknowledges && !request.hasReply, size: payload.count)
        try state.connection.send(header, payload, passing: descriptors)
        guard wantsReply else { return nil }
        let received: ReceivedMessage?
        do { received = try state.connection.receive(within: patience) } catch {
            throw VhostUserError(error.kind, "\(error.description.dropLast()), asked for \(request.name).")
        }
        guard let received else { throw VhostUserError(.departure, "The back-end has left, asked for \(request.name).") }
        guard received.header.isReply, received.header.request == request.rawValue else {
            throw .violation("\(request.name) was answered with message \(received.header.request).")
        }
        let answer = received.payload
        passed = received.takeDescriptors()
        return try BackEndReply(to: request, answer.span)
    }
}
