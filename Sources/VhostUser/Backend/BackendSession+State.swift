import Host
import Schema
import Virtio
import Virtqueue

// What a back-end keeps besides its rings: the device's own state (vhost-user, Migrating back-end state), and the requests in flight.

extension BackendSession {
    /// More than any device of ours has to say, and what a pipe takes before anybody reads: so writing a state never waits.
    private static let mostState = 65536
    /// How long the end of a state may take that the front-end says it has written, in milliseconds.
    private static let patience: Int64 = 1000

    // MARK: The device's state

    /// Saves or prepares to load the state; the answer to the request.
    mutating func beginTransfer(
        _ transfer: DeviceStateTransfer, _ descriptors: inout PassedDescriptors
    ) throws(VhostUserError) -> UInt64 {
        guard let descriptor = descriptors.takeFirst() else { throw .violation("SET_DEVICE_STATE_FD came without a descriptor.") }
        guard !rings.contains(where: \.isRunning) else { throw .violation("SET_DEVICE_STATE_FD came while rings run.") }
        hasTransferred = false
        incomingState = nil
        switch transfer.direction {
        case .save:
            do {
                let bytes = Array(JSONText.encode(try device.snapshot(), compact: true).utf8)
                guard bytes.count <= Self.mostState else { throw DeviceError("It has \(bytes.count) bytes.") }
                try descriptor.setNonBlocking()
                try descriptor.writeAll(bytes)
                hasTransferred = true
            } catch {
                report("its state could not be saved: \(error)")
                return DeviceStateTransfer.usesYours | 1
            }
        case .load: incomingState = consume descriptor
        }
        return DeviceStateTransfer.usesYours
    }

    /// Loads the state that has been written, if there is one; whether the transfer went well.
    mutating func finishTransfer() -> Bool {
        if let descriptor = incomingState.take() {
            do {
                let value = try JSONText.decode(try Self.readState(descriptor))
                acknowledge()
                try device.restore(SavedValue(value))
                hasTransferred = true
            } catch {
                refuse(error)
            }
        }
        defer { hasTransferred = false }
        return hasTransferred
    }

    /// Keeps why a state was refused for whoever asks; for those who cannot it is said here.
    private mutating func refuse(_ error: any Error) {
        switch error {
        case let error as StateError: refusal = StateRefusal(path: error.path, expectation: error.expectation)
        default: refusal = StateRefusal(path: "", expectation: "a state that the device takes (\(error))")
        }
        if protocolFeatures?.contains(.control) != true { report("its state could not be restored: \(error)") }
    }

    private static func readState(_ descriptor: borrowing OwnedDescriptor) throws -> [UInt8] {
        try descriptor.setNonBlocking()
        let deadline = MonotonicTime.now + patience
        let poller = try Poller()
        try poller.add(descriptor.rawValue, token: 0)
        var bytes: [UInt8] = []
        while bytes.count <= mostState {
            let left = deadline - MonotonicTime.now
            guard left > 0 else { throw DeviceError("Its end did not come.") }
            guard try poller.wait(timeoutMilliseconds: Int32(clamping: left), { _ in }) > 0 else { continue }
            let more = try descriptor.readSome(4096)
            if more.isEmpty { return bytes }
            bytes += more
        }
        throw DeviceError("It has more than \(mostState) bytes.")
    }

    // MARK: Control

    /// Passes a request of the control side on.
    mutating func control(_ text: [UInt8]) throws(VhostUserError) {
        guard protocolFeatures?.contains(.control) == true else { throw .violation("CONTROL came without being negotiated.") }
        let request: JSONValue
        do { request = try JSONText.decode(text) } catch { throw .violation("CONTROL has no JSON: \(error)") }
        // What the driver has accepted comes first: the request may be about it.
        acknowledge()
        do { try device.controlNotify(request) } catch { throw VhostUserError(.device, error.description) }
    }

    // MARK: Requests in flight

    /// Memory for as many queues as the front-end wants to use.
    mutating func makeInFlight(_ wanted: InFlightDescription) throws(VhostUserError) -> InFlightDescription {
        guard (1...UInt16(clamping: rings.count)).contains(wanted.queueCount), (1...RingFormat.maxQueueSize).contains(wanted.queueSize)
        else {
            throw .violation("GET_INFLIGHT_FD wants \(wanted.queueCount) queues of \(wanted.queueSize); the device has \(rings.count).")
        }
        let format = features.ring.format
        let made = try hosted("make memory for requests in flight") { () throws(SystemError) in
            try InFlightMemory.make(queueCount: wanted.queueCount, queueSize: wanted.queueSize, format)
        }
        outgoing = made.file.take()
        return made.description
    }

    /// From the next start of a ring on its requests are noted there, and those that are noted come again.
    mutating func setInFlight(_ description: InFlightDescription, _ descriptors: inout PassedDescriptors) throws(VhostUserError) {
        guard let file = descriptors.takeFirst() else { throw .violation("SET_INFLIGHT_FD came without a descriptor.") }
        guard !rings.contains(where: \.isRunning) else { throw .violation("SET_INFLIGHT_FD came while rings run.") }
        do { inFlight = try InFlightMemory(file, description) } catch {
            let isImpossible = error.errno == .invalidArgument || error.errno == .fileTooLarge
            throw VhostUserError(
                isImpossible ? .violation : .host,
                "SET_INFLIGHT_FD has \(description.size) bytes at \(description.offset) that cannot be mapped (\(error)).")
        }
    }
}
