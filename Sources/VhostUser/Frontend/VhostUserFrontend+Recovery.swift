public import Host
import Synchronization
import Virtio

// What becomes of a device whose back-end ends: it waits for another one, or needs a reset that will not help.

extension VhostUserFrontend {
    /// Does something with the back-end. When the connection fails and another back-end can be expected, waits for it and tries again:
    /// `body` takes up where it was.
    func perform<Result: ~Copyable & Sendable>(
        _ body: (inout State) throws(VhostUserError) -> Result
    ) throws(DeviceError) -> Result {
        let deadline = MonotonicTime.now + (profile.recovery ?? 0)
        while true {
            let used = link
            var change: EventFD?
            do throws(VhostUserError) {
                return try state.withLock { (state) throws(VhostUserError) -> Result in
                    change = state.change
                    return try body(&state)
                }
            } catch {
                let left = deadline - MonotonicTime.now
                guard profile.recovery != nil, left > 0, used.connection.failure != nil, !isGivenUp.load(ordering: .acquiring),
                    change?.waitWithoutDraining(milliseconds: left) == true
                else { throw DeviceError("\(profile.label): \(error)") }
            }
        }
    }

    /// Another back-end, at the other end of `socket`, takes the place of the one that has ended: it gets all that the driver has set up,
    /// and the notes about requests in flight.
    ///
    /// Call it only when the old one has no way to the guest's RAM any more. `events` learns of what happens to the new connection; nil: whoever
    /// learns of the first one.
    /// - Throws: what keeps the back-end from being the same device. The device then waits for a better one.
    public func recover(_ socket: consuming OwnedDescriptor, events: FrontendEvents? = nil) throws(VhostUserError) {
        let before = space.copy.bytes
        let link = try BackEndLink(socket, profile, space, events ?? self.events)
        guard link.greeting.features.isSuperset(of: backEndFeatures) else {
            throw VhostUserError(.device, "The new back-end lacks features that the old one had.")
        }
        let change = try hosted("make an event") { () throws(SystemError) in try EventFD() }
        try state.withLock { (state) throws(VhostUserError) in
            guard !isGivenUp.load(ordering: .acquiring) else { throw VhostUserError(.device, "The device has been given up.") }
            guard state.inFlight == nil || link.has(.inFlight) else {
                throw VhostUserError(
                    .device, "The new back-end takes no notes about requests in flight (VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD).")
            }
            let old = current.withLock { current in
                defer { current = link }
                return current
            }
            old.close()
            state.lost.formUnion(state.progress.started)
            do throws(VhostUserError) {
                try introduce(&state, saved: state.isActive ? nil : state.saved)
                // It had to start them to find out where they stand.
                if state.isStalled { try stopAll(&state) }
            } catch {
                // It has a part of the device only, and shall not have that: whoever watches the connection ends it.
                link.connection.fail(error)
                throw error
            }
            state.change.signal()
            state.change = change
        }
        link.adopt()
        try announceSpace(unlike: before)
    }

    /// The space may be another one now.
    private func announceSpace(unlike before: [UInt8]) throws(VhostUserError) {
        try refreshSpace()
        if space.copy.bytes != before { space.announcements.configurationChanged() }
    }

    /// Tells a back-end that has just come of everything.
    private func introduce(_ state: inout State, saved: [UInt8]?) throws(VhostUserError) {
        state.progress = Progress()
        try announceFeatures(&state)
        if let saved, let refusal = try load(saved) {
            throw VhostUserError(.device, "The back-end refuses the device's state: expected \(refusal.expectation).")
        }
        for (offset, byte) in state.written.sorted(by: { $0.key < $1.key }) {
            try link.connection.send(.setConfiguration(ConfigurationAccess(offset: UInt32(truncatingIfNeeded: offset), bytes: [byte])))
        }
        if let control = state.control { try link.connection.send(.control(control)) }
        try synchronise(&state)
    }

    /// Another back-end, at the other end of `socket`, takes over from one that works: that one finishes what it has begun, and the other one
    /// goes on where it stands. `events` is what it is for `recover`.
    ///
    /// - Throws: what keeps it from doing so. The device then stays where it was, or, if neither of the two can have it any more, waits for
    ///   another back-end (`failure`).
    public func handOver(to socket: consuming OwnedDescriptor, events: FrontendEvents? = nil) throws(VhostUserError) {
        let before = space.copy.bytes
        let link = try BackEndLink(socket, profile, space, events ?? self.events)
        guard link.greeting.features.isSuperset(of: backEndFeatures) else {
            throw VhostUserError(.device, "The new back-end lacks features that the old one has.")
        }
        try state.withLock { (state) throws(VhostUserError) in
            let old = self.link
            guard old.connection.failure == nil, !isGivenUp.load(ordering: .acquiring) else {
                throw VhostUserError(.device, "The old back-end does not answer.")
            }
            let saved = try release(old, &state)
            state.inFlight = nil
            current.withLock { $0 = link }
            do throws(VhostUserError) { try introduce(&state, saved: saved) } catch {
                guard state.progress.started.isEmpty else {
                    // It may have processed some requests, which only its notes tell of: neither of the two can go on, but a third one can.
                    old.connection.fail(error)
                    link.connection.fail(error)
                    throw error
                }
                current.withLock { $0 = old }
                link.close()
                goOn(old, &state)
                throw error
            }
            old.close()
        }
        link.adopt()
        try announceSpace(unlike: before)
    }

    /// Has a back-end that works give all queues back, and its state; that, if it has any. After an error it goes on, or has failed.
    private func release(_ old: BackEndLink, _ state: inout State) throws(VhostUserError) -> [UInt8]? {
        do throws(VhostUserError) {
            try stopAll(&state)
            return old.has(.deviceState) && !profile.isStateless ? try save() : nil
        } catch {
            goOn(old, &state)
            throw error
        }
    }

    /// Lets a back-end go on that has given queues back. One that cannot has failed, so that another one takes its place: what it has not given
    /// back, and its notes, stay what they were.
    private func goOn(_ old: BackEndLink, _ state: inout State) {
        do throws(VhostUserError) {
            if let failure = old.connection.failure { throw failure }
            if state.progress.started.isEmpty {
                // All is at rest, and it is told of everything anew.
                state.progress = Progress()
                state.inFlight = nil
            }
            try synchronise(&state)
        } catch {
            old.connection.fail(error)
        }
    }

    /// No back-end will come any more: whoever waits for one need not, and the driver is told that the device cannot go on. From any thread,
    /// at any time.
    public func giveUp() {
        isGivenUp.store(true, ordering: .releasing)
        link.connection.close()
        state.withLock { state in
            state.change.signal()
            state.interrupt?.needsReset()
        }
    }
}
