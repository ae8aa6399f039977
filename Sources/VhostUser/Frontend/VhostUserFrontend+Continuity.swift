import GuestMemory
import Synchronization
import Virtio
import Virtqueue

// What may become of a device when a back-end leaves that is not ours: nobody has seen to it that its requests are done.

extension VhostUserFrontend {
    /// What ended the connection; nil while it works.
    public var failure: VhostUserError? { link.connection.failure }

    /// What follows from a back-end's leaving; both are sentences without their ends.
    public struct Departure: Sendable, Equatable {
        /// Why no other one can take its place; nil when one can.
        public var obstacle: String?
        /// What may be wrong when one does.
        public var caveat: String?

        /// What follows.
        public init(obstacle: String? = nil, caveat: String? = nil) { (self.obstacle, self.caveat) = (obstacle, caveat) }
    }

    /// The back-end has let go of the connection. From now on the device waits for another one.
    ///
    /// Call it as soon as the back-end has no way to the guest's RAM any more: what the driver asks for later was seen by nobody.
    public func noteLeft() -> Departure {
        link.connection.noteLeft()
        return state.withLock { state in
            let isDisk = profile.continuity == .whenIdle && state.isActive && !state.progress.hasInFlight
            let caveat = isDisk ? "It kept no notes of requests: writes that it had completed, and not flushed, may be lost" : nil
            if state.progress.isReplaceable { return Departure(caveat: caveat) }
            let obstacle = obstacle(state)
            state.progress.isReplaceable = obstacle == nil
            return Departure(obstacle: obstacle, caveat: caveat)
        }
    }

    private func obstacle(_ state: borrowing State) -> String? {
        switch profile.continuity {
        case .none: return state.features == nil ? nil : "What it knew of the guest, such as open files, went with it"
        case .anyRequest where state.progress.hasInFlight, .whenIdle where state.progress.hasInFlight: return nil
        case .anyRequest, .whenIdle: break
        }
        let isPacked = (state.features ?? []).ring.format == .packed
        var unfinished = 0
        for index in state.progress.started {
            guard let area = state.running[index]?.configuration else { continue }
            if isPacked { return "Where its packed rings stood is known to nobody else (\(Self.noNotes))" }
            // Both indices run from 0 to 65535 and on from 0.
            guard let available: UInt16 = state.memory?.load(at: area.driverArea &+ 2),
                let used: UInt16 = state.memory?.load(at: area.deviceArea &+ 2)
            else { continue }
            unfinished += Int(available &- used)
        }
        guard profile.continuity == .whenIdle, unfinished > 0 else { return nil }
        return "Requests were in flight (\(unfinished)), and nobody knows which of them are done (\(Self.noNotes))"
    }

    private static let noNotes = "the back-end does not offer VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD"
}
