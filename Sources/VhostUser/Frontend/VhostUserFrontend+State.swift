import Host
public import Schema
public import Virtio
import Virtqueue

// The state that a back-end keeps for its device (vhost-user, Migrating back-end state), and requests of the control side.

extension VhostUserFrontend {
    /// More than any device has to say, in bytes.
    private static let mostState = 16 << 20

    /// The state of the back-end: as it is when it is one of ours, else as a text that nobody here can read.
    public func snapshot() throws(DeviceError) -> JSONValue {
        if profile.isStateless { return [:] }
        let bytes = try perform { (state) throws(VhostUserError) -> [UInt8] in
            guard link.has(.deviceState) else {
                throw VhostUserError(.device, "Its back-end cannot save its state (VHOST_USER_PROTOCOL_F_DEVICE_STATE).")
            }
            let bytes = try save()
            state.saved = bytes
            return bytes
        }
        guard link.has(.control) else { return ["backEnd": .base64(bytes)] }
        do { return try JSONText.decode(bytes) } catch {
            throw DeviceError("\(profile.label): the state that its back-end has saved is no JSON (\(error)).")
        }
    }

    /// Takes over a saved state.
    public func restore(_ saved: SavedValue) throws(StateError) {
        if profile.isStateless { return try saved.expectEmpty() }
        guard link.has(.deviceState) else {
            throw saved.error(expected: "a back-end that can restore its state (VHOST_USER_PROTOCOL_F_DEVICE_STATE)")
        }
        let bytes: [UInt8]
        if link.has(.control) {
            bytes = Array(JSONText.encode(try saved.value(), compact: true).utf8)
        } else {
            bytes = try saved.read { (fields) throws(StateError) in try fields.base64("backEnd", size: 0...Self.mostState) }
        }
        let refusal: StateRefusal?
        do throws(DeviceError) {
            refusal = try perform { (state) throws(VhostUserError) -> StateRefusal? in
                try announceFeatures(&state)
                if let refusal = try load(bytes) { return refusal }
                state.saved = bytes
                try refreshSpace()
                return nil
            }
        } catch {
            throw saved.error(expected: "a device that works (\(error))")
        }
        guard let refusal else { return }
        // As the device itself would have said it, had it been here.
        let place = [saved.path.description, refusal.path].filter { !$0.isEmpty }.joined(separator: ".")
        throw StateError(path: place, expectation: refusal.expectation)
    }

    /// Passes a request on to a back-end of ours.
    public func controlNotify(_ request: JSONValue) throws(DeviceError) {
        let text = Array(JSONText.encode(request, compact: true).utf8)
        guard link.has(.control), text.count <= MessageHeader.mostPayload else {
            throw DeviceError("\(profile.label): its back-end takes no such request.")
        }
        try perform { (state) throws(VhostUserError) in
            let before = state.control
            state.control = text
            do throws(VhostUserError) { try link.connection.send(.control(text)) } catch {
                // What it has refused no other back-end shall be asked to take.
                if link.connection.failure == nil { state.control = before }
                throw error
            }
            // A device that is not active announces nothing.
            try refreshSpace()
        }
    }

    func save() throws(VhostUserError) -> [UInt8] {
        let pipe = try hosted("make a pipe") { () throws(SystemError) in try Pipe() }
        let reader = try begin(.save, pipe)
        do {
            try reader.setNonBlocking()
            let poller = try Poller()
            try poller.add(reader.rawValue, token: 0)
            let deadline = MonotonicTime.now + profile.patience
            var bytes: [UInt8] = []
            while true {
                let left = deadline - MonotonicTime.now
                guard bytes.count <= Self.mostState else { throw VhostUserError.violation("The state of the back-end has no end.") }
                guard left > 0 else { throw lost("The back-end stopped in the middle of its state.") }
                guard try poller.wait(timeoutMilliseconds: Int32(clamping: left), { _ in }) > 0 else { continue }
                let more = try reader.readSome(65536)
                if more.isEmpty { break }
                bytes += more
            }
            guard try link.connection.number(.checkDeviceState) == 0 else {
                throw VhostUserError(.device, "The back-end could not save its state.")
            }
            return bytes
        } catch let error as VhostUserError {
            throw error
        } catch {
            throw VhostUserError(.host, "The host could not read the state of the back-end (\(error)).")
        }
    }

    /// A back-end that does not go on with a state will answer nothing else either.
    private func lost(_ sentence: String) -> VhostUserError {
        let error = VhostUserError(.silence, sentence)
        link.connection.fail(error)
        return error
    }

    /// Has the back-end take a state over; why it does not.
    func load(_ bytes: [UInt8]) throws(VhostUserError) -> StateRefusal? {
        let pipe = try hosted("make a pipe") { () throws(SystemError) in try Pipe() }
        do {
            let writer = try begin(.load, pipe)
            try writer.setNonBlocking()
            var written = 0
            let deadline = MonotonicTime.now + profile.patience
            while written < bytes.count {
                var isFull = false
                do throws(SystemError) {
                    written += try writer.write(bytes.span.extracting(written...).untyped)
                } catch {
                    guard error.errno == .wouldBlock else { throw error }
                    isFull = true
                }
                if isFull {
                    guard MonotonicTime.now < deadline else { throw lost("The back-end does not take a state.") }
                    _ = try writer.waitWritable(milliseconds: 100)
                }
            }
        } catch let error as VhostUserError {
            throw error
        } catch {
            throw VhostUserError(.host, "The host could not pass a state to the back-end (\(error)).")
        }
        // Our end of the pipe is closed: that is the end of the state.
        if try link.connection.number(.checkDeviceState) == 0 { return nil }
        guard link.has(.control) else { return StateRefusal(path: "", expectation: "a state that its back-end takes") }
        return try link.connection.reason()
    }

    /// Offers the back-end its end of the pipe; gives ours, and closes the back-end's.
    private func begin(_ direction: DeviceStateTransfer.Direction, _ pipe: consuming Pipe) throws(VhostUserError) -> OwnedDescriptor {
        let theirs = direction == .save ? pipe.writer.rawValue : pipe.reader.rawValue
        let answer = try link.connection.number(.setDeviceStateDescriptor(DeviceStateTransfer(direction)), passing: [theirs])
        guard answer == DeviceStateTransfer.usesYours else {
            throw VhostUserError(.device, "The back-end does not \(direction) its state (0x\(String(answer, radix: 16))).")
        }
        switch direction {
        case .save: return pipe.reader
        case .load: return pipe.writer
        }
    }
}
