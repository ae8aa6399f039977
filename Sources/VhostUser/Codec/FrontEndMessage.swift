/// What a front-end can ask of a back-end (vhost-user, Front-end message types), as far as ours serves it.
public enum FrontEndMessage: Sendable, Equatable {
    case getFeatures
    case setFeatures(UInt64)
    case setOwner
    case resetOwner
    case setMemoryTable([MemoryRegionDescription])
    case setLogBase(LogDescription)
    case setLogEvent
    case setRingSize(RingState)
    case setRingAddresses(RingAddresses)
    case setRingBase(RingState)
    case getRingBase(RingState)
    case setRingKick(RingDescriptor)
    case setRingCall(RingDescriptor)
    case setRingError(RingDescriptor)
    case getProtocolFeatures
    case setProtocolFeatures(UInt64)
    case getQueueCount
    case setRingEnable(RingState)
    case setBackendRequestSocket
    case getConfiguration(ConfigurationAccess)
    case setConfiguration(ConfigurationAccess)
    case getInFlight(InFlightDescription)
    case setInFlight(InFlightDescription)
    case resetDevice
    case getMaxMemorySlots
    case addMemoryRegion(MemoryRegionDescription)
    case removeMemoryRegion(MemoryRegionDescription)
    case setStatus(UInt64)
    case getStatus
    case setDeviceStateDescriptor(DeviceStateTransfer)
    case checkDeviceState
    case control([UInt8])
    case getReason
}

/// The numbers of the requests.
public enum FrontEndRequest: UInt32, Sendable, CaseIterable {
    case getFeatures = 1, setFeatures, setOwner, resetOwner, setMemoryTable, setLogBase, setLogEvent
    case setRingSize, setRingAddresses, setRingBase, getRingBase, setRingKick, setRingCall, setRingError
    case getProtocolFeatures, setProtocolFeatures, getQueueCount, setRingEnable
    case setBackendRequestSocket = 21
    case getConfiguration = 24, setConfiguration
    case getInFlight = 31, setInFlight
    case resetDevice = 34
    case getMaxMemorySlots = 36, addMemoryRegion, removeMemoryRegion, setStatus, getStatus
    case setDeviceStateDescriptor = 42, checkDeviceState
    /// Ours, where both ends are: a control request of the device, as JSON. Far above what the protocol will ever number.
    case control = 0x7377_0001
    /// Ours as well: why the last CHECK_DEVICE_STATE said no.
    case getReason

    /// The name in the protocol's specification.
    public var name: String {
        switch self {
        case .getFeatures: "GET_FEATURES"
        case .setFeatures: "SET_FEATURES"
        case .setOwner: "SET_OWNER"
        case .resetOwner: "RESET_OWNER"
        case .setMemoryTable: "SET_MEM_TABLE"
        case .setLogBase: "SET_LOG_BASE"
        case .setLogEvent: "SET_LOG_FD"
        case .setRingSize: "SET_VRING_NUM"
        case .setRingAddresses: "SET_VRING_ADDR"
        case .setRingBase: "SET_VRING_BASE"
        case .getRingBase: "GET_VRING_BASE"
        case .setRingKick: "SET_VRING_KICK"
        case .setRingCall: "SET_VRING_CALL"
        case .setRingError: "SET_VRING_ERR"
        case .getProtocolFeatures: "GET_PROTOCOL_FEATURES"
        case .setProtocolFeatures: "SET_PROTOCOL_FEATURES"
        case .getQueueCount: "GET_QUEUE_NUM"
        case .setRingEnable: "SET_VRING_ENABLE"
        case .setBackendRequestSocket: "SET_BACKEND_REQ_FD"
        case .getConfiguration: "GET_CONFIG"
        case .setConfiguration: "SET_CONFIG"
        case .getInFlight: "GET_INFLIGHT_FD"
        case .setInFlight: "SET_INFLIGHT_FD"
        case .resetDevice: "RESET_DEVICE"
        case .getMaxMemorySlots: "GET_MAX_MEM_SLOTS"
        case .addMemoryRegion: "ADD_MEM_REG"
        case .removeMemoryRegion: "REM_MEM_REG"
        case .setStatus: "SET_STATUS"
        case .getStatus: "GET_STATUS"
        case .setDeviceStateDescriptor: "SET_DEVICE_STATE_FD"
        case .checkDeviceState: "CHECK_DEVICE_STATE"
        case .control: "CONTROL"
        case .getReason: "GET_REASON"
        }
    }

    /// Whether the request has an answer of its own; the others are answered only where REPLY_ACK asks for it.
    public var hasReply: Bool {
        switch self {
        case .getFeatures, .setLogBase, .getProtocolFeatures, .getQueueCount, .getRingBase, .getConfiguration, .getInFlight,
            .getMaxMemorySlots, .getStatus, .setDeviceStateDescriptor, .checkDeviceState, .getReason:
            true
        default: false
        }
    }
}
