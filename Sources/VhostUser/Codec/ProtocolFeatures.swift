/// Features of the protocol itself (vhost-user, Protocol features), negotiated apart from those of the device.
public struct ProtocolFeatures: OptionSet, Sendable, Hashable {
    /// The bits of GET_PROTOCOL_FEATURES.
    public let rawValue: UInt64
    /// Wraps the bits.
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    private init(bit: UInt64) { rawValue = 1 << bit }

    /// MQ (0): GET_QUEUE_NUM tells how many queues there are.
    public static let multiQueue = ProtocolFeatures(bit: 0)
    /// LOG_SHMFD (1): what the device writes is noted in memory that the front-end passes.
    public static let logMemory = ProtocolFeatures(bit: 1)
    /// REPLY_ACK (3): any message can ask how it went.
    public static let replyAck = ProtocolFeatures(bit: 3)
    /// BACKEND_REQ (5): a second socket, on which the back-end asks.
    public static let backendRequests = ProtocolFeatures(bit: 5)
    /// CONFIG (9): the configuration space lies with the back-end.
    public static let configuration = ProtocolFeatures(bit: 9)
    /// INFLIGHT_SHMFD (12): which requests are in flight stands in memory that outlives the back-end.
    public static let inFlight = ProtocolFeatures(bit: 12)
    /// RESET_DEVICE (13).
    public static let resetDevice = ProtocolFeatures(bit: 13)
    /// CONFIGURE_MEM_SLOTS (15): regions of memory come and go one by one.
    public static let memorySlots = ProtocolFeatures(bit: 15)
    /// STATUS (16): the device status field is passed on.
    public static let status = ProtocolFeatures(bit: 16)
    /// DEVICE_STATE (19): what the back-end keeps for its device can be saved and restored.
    public static let deviceState = ProtocolFeatures(bit: 19)
    /// Both ends are ours (63): requests of the control side can be passed on.
    public static let control = ProtocolFeatures(bit: 63)

    /// What our back-ends serve to everybody.
    static let servedToAll: ProtocolFeatures = [
        .multiQueue, .replyAck, .backendRequests, .configuration, .inFlight, .resetDevice, .memorySlots, .status, .deviceState,
        .logMemory,
    ]

    /// The bit of the device's features with which a back-end says that the protocol has features of its own
    /// (VHOST_USER_F_PROTOCOL_FEATURES).
    public static let announcement: UInt64 = 1 << 30

    /// The bit of the device's features with which a front-end turns the log of writes on and off (VHOST_F_LOG_ALL). No driver sees it.
    public static let logging: UInt64 = 1 << 26
}
