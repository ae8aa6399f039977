public import Virtio

/// What a front-end must know of a device that its back-end does not tell.
public struct FrontendProfile: Sendable {
    /// The kind of device.
    public let deviceType: DeviceType
    /// A short name, for log lines and thread names.
    public let label: String
    /// The number of queues that are to be served, at least 1.
    public let queueCount: Int
    /// Entries per queue, a power of two.
    public let queueSize: UInt16
    /// Features that are not offered although the back-end has them.
    public var withheld: Features = []
    /// Bytes of configuration space that the back-end serves; 0: none.
    public var configurationSize = 0
    /// Takes the place of what the back-end says in configuration space, from the beginning on.
    public var configuration: [UInt8] = []
    /// Whether there is nothing to save of the back-end but where its queues stand, whatever it says.
    public var isStateless = false
    /// How it survives a back-end that kept no notes of requests in flight.
    public var continuity = Continuity.anyRequest
    /// How long a back-end may take for an answer, in milliseconds.
    public var patience: Int64 = 10_000
    /// Somebody makes a new back-end when this one ends: what cannot be done meanwhile waits so many milliseconds. nil: nobody does.
    public var recovery: Int64?

    /// What another back-end can do with requests that the one before has not finished, without notes about them.
    public enum Continuity: Sendable {
        /// Begin them anew: packets, characters and random bytes may come twice, or not at all.
        case anyRequest
        /// Nothing, so there must be none: a disk's requests may neither be lost nor be done after later ones.
        case whenIdle
        /// Nothing, notes or not: the back-end had a state of its own, such as open files.
        case none
    }

    /// A device with `queueCount` queues of `queueSize` entries and nothing else to know.
    public init(_ deviceType: DeviceType, label: String, queueCount: Int, queueSize: UInt16) {
        self.deviceType = deviceType
        self.label = label
        self.queueCount = queueCount
        self.queueSize = queueSize
    }
}

/// What a front-end tells its owner, on whatever thread it notices.
public struct FrontendEvents: Sendable {
    /// The connection has failed; the error says how. After that nothing is sent on it any more, and whoever is at its other end must not
    /// be left running: it may still have the guest's RAM.
    public var failed: @Sendable (VhostUserError) -> Void

    /// Calls `failed` once for each connection that fails.
    public init(failed: @escaping @Sendable (VhostUserError) -> Void) { self.failed = failed }
}
