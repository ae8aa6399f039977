/// Where a device is in its life: the one table of transitions that every host of a device uses.
///
/// ```
///  new ⇄ asleep(new)      active ⇄ asleep(active)      inactive ⇄ asleep(inactive)          sleep / wake
///  new ─activate→ active ─reset→ inactive ─activate→ active
///  asleep(new) ─restore→ asleep(new | active | inactive)            snapshot: only asleep
/// ```
public struct Lifecycle: Sendable, Hashable {
    /// What the device has been through.
    public enum Phase: String, Sendable, Hashable, CaseIterable {
        /// Never activated since it was made.
        case new
        /// The driver is ready and the queues are the device's.
        case active
        /// Was active and has been reset.
        case inactive
    }

    /// Something that happens to a device.
    public enum Event: Sendable, Hashable {
        /// The driver set DRIVER_OK.
        case activate
        /// The driver wrote status 0.
        case reset
        /// The device found that it cannot go on.
        case fail
        /// The machine goes to sleep.
        case sleep
        /// The machine wakes.
        case wake
        /// The device's state is being saved.
        case snapshot
        /// A saved state is taken over; the lifecycle becomes the saved one, asleep.
        case restore(Phase, needsReset: Bool)
    }

    /// The phase, awake or asleep.
    public private(set) var phase: Phase
    /// Whether the device sleeps: no thread of it runs, and its queues are the host's.
    public private(set) var isAsleep: Bool
    /// Whether DEVICE_NEEDS_RESET is set (virtio 1.3, 2.1.2); only a reset clears it.
    public private(set) var needsReset: Bool

    /// A new device, awake.
    public init() { self.init(phase: .new, isAsleep: false, needsReset: false) }

    /// A device in a given state.
    public init(phase: Phase, isAsleep: Bool, needsReset: Bool) {
        self.phase = phase
        self.isAsleep = isAsleep
        self.needsReset = needsReset
    }

    /// The state after `event`, or an error that names both when the event is not allowed.
    public func after(_ event: Event) throws(LifecycleError) -> Lifecycle {
        switch (event, isAsleep) {
        case (.activate, false) where phase != .active && !needsReset:
            return Lifecycle(phase: .active, isAsleep: false, needsReset: false)
        case (.reset, false):
            // A reset of a device that never was active leaves it new (virtio 1.3, 2.4: reset is always allowed).
            return Lifecycle(phase: phase == .new ? .new : .inactive, isAsleep: false, needsReset: false)
        case (.fail, _):
            return Lifecycle(phase: phase, isAsleep: isAsleep, needsReset: true)
        case (.sleep, false):
            return Lifecycle(phase: phase, isAsleep: true, needsReset: needsReset)
        case (.wake, true):
            return Lifecycle(phase: phase, isAsleep: false, needsReset: needsReset)
        case (.snapshot, true):
            return self
        case (.restore(let saved, let needsReset), true) where phase == .new && !self.needsReset:
            return Lifecycle(phase: saved, isAsleep: true, needsReset: needsReset)
        default:
            throw LifecycleError(state: self, event: event)
        }
    }

    /// Moves to the state after `event`, or throws and stays.
    public mutating func apply(_ event: Event) throws(LifecycleError) { self = try after(event) }
}

extension Lifecycle: CustomStringConvertible {
    /// `active`, `asleep(new)`, `active, needs reset` …
    public var description: String {
        let name = isAsleep ? "asleep(\(phase.rawValue))" : phase.rawValue
        return needsReset ? "\(name), needs reset" : name
    }
}

/// An event that a device's state does not allow.
public struct LifecycleError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The state the device was and is in.
    public let state: Lifecycle
    /// What was asked of it.
    public let event: Lifecycle.Event

    /// One sentence that names both.
    public var description: String { "A device that is \(state) cannot \(event.name)." }
}

extension Lifecycle.Event {
    /// The event as a verb.
    public var name: String {
        switch self {
        case .activate: "activate"
        case .reset: "reset"
        case .fail: "fail"
        case .sleep: "sleep"
        case .wake: "wake"
        case .snapshot: "be snapshotted"
        case .restore(let phase, _): "be restored to \(phase.rawValue)"
        }
    }
}
