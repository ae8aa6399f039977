import VhostUser

/// Messages of every kind, with values at the edges of what they can hold.
enum Samples {
    static let regions = [
        MemoryRegionDescription(guestAddress: 0, size: 0, userAddress: 0, fileOffset: 0),
        MemoryRegionDescription(guestAddress: .max, size: .max, userAddress: .max, fileOffset: .max),
        MemoryRegionDescription(guestAddress: 1, size: 1 << 63, userAddress: 0x0123_4567_89ab_cdef, fileOffset: 4096),
    ]

    static let accesses = [
        ConfigurationAccess(offset: 0, bytes: []),
        ConfigurationAccess(offset: 0, flags: 1, bytes: [0xff]),
        ConfigurationAccess(offset: 3, flags: .max, bytes: (0..<57).map { UInt8($0) }),
        ConfigurationAccess(offset: ConfigurationAccess.end, bytes: []),
        ConfigurationAccess(offset: ConfigurationAccess.end - 1, bytes: [7]),
    ]

    /// The longest payload that there is.
    static let wholeSpace = ConfigurationAccess(offset: 0, bytes: Array(repeating: 0xa5, count: Int(ConfigurationAccess.end)))

    private static let numbers: [UInt64] = [0, 1, 1 << 30, 1 << 63, .max]
    private static let rings = [(UInt32(0), UInt32(0)), (1, 256), (.max, .max), (0, 0x8000_8000)].map { RingState(index: $0, value: $1) }
    private static let descriptors = [(UInt32(0), true), (0, false), (255, true), (255, false)].map {
        RingDescriptor(index: $0, isPresent: $1)
    }
    static let inFlight = [
        InFlightDescription(size: 0, offset: 0, queueCount: 1, queueSize: 128),
        InFlightDescription(size: .max, offset: .max, queueCount: .max, queueSize: .max),
    ]
    private static let addresses = [
        RingAddresses(index: 0, descriptorArea: 0, deviceArea: 0, driverArea: 0),
        RingAddresses(index: .max, flags: .max, descriptorArea: .max, deviceArea: .max, driverArea: .max, log: .max),
        RingAddresses(index: 1, flags: 1, descriptorArea: 16, deviceArea: 1 << 63, driverArea: 3, log: 4),
    ]

    /// A table of `count` regions that differ.
    static func table(_ count: Int) -> [MemoryRegionDescription] {
        (0..<UInt64(count)).map { MemoryRegionDescription(guestAddress: $0 << 32, size: $0 + 1, userAddress: ~$0, fileOffset: $0 << 12) }
    }

    /// At least one of every kind.
    static let messages: [FrontEndMessage] = {
        var messages: [FrontEndMessage] = [
            .getFeatures, .setOwner, .resetOwner, .getProtocolFeatures, .getQueueCount, .setBackendRequestSocket, .resetDevice,
            .getMaxMemorySlots, .getStatus, .checkDeviceState, .setDeviceStateDescriptor(DeviceStateTransfer(.save)),
            .setDeviceStateDescriptor(DeviceStateTransfer(.load)), .control([]), .control([0x7b, 0x7d]), .getReason,
            .setLogEvent, .setLogBase(LogDescription(size: 0, offset: 0)), .setLogBase(LogDescription(size: .max, offset: .max)),
        ]
        for region in inFlight { messages += [.getInFlight(region), .setInFlight(region)] }
        for number in numbers { messages += [.setFeatures(number), .setProtocolFeatures(number), .setStatus(number)] }
        for ring in rings { messages += [.setRingSize(ring), .setRingBase(ring), .getRingBase(ring), .setRingEnable(ring)] }
        for ring in descriptors { messages += [.setRingKick(ring), .setRingCall(ring), .setRingError(ring)] }
        messages += addresses.map { .setRingAddresses($0) }
        for region in regions { messages += [.addMemoryRegion(region), .removeMemoryRegion(region)] }
        for access in accesses { messages += [.getConfiguration(access), .setConfiguration(access)] }
        messages += [1, 2, 32].map { .setMemoryTable(table($0)) }
        return messages
    }()

    /// The numbers between and behind those of the requests.
    static let unknownRequests: [UInt32] = {
        let known = Set(FrontEndRequest.allCases.map(\.rawValue))
        return (0...64).filter { !known.contains($0) } + [0x100, 0x1_0001, .max]
    }()
}

/// Decodes a message as a back-end does.
func decode(
    _ request: UInt32, _ payload: [UInt8], descriptors: Int = 0, isReply: Bool = false
) throws(VhostUserError) -> FrontEndMessage {
    try FrontEndMessage(MessageHeader(request: request, isReply: isReply, size: payload.count), payload.span, descriptors: descriptors)
}
