extension FrontEndMessage {
    /// The most regions of a memory table.
    public static let mostRegions = 32

    /// Reads a message whose header has been read. `descriptors` is the number of descriptors that came along.
    ///
    /// - Throws: a violation that names the request: a payload of another size than the request has, descriptors where none belong or too
    ///   few where some do, an unknown request.
    public init(_ header: MessageHeader, _ payload: Span<UInt8>, descriptors: Int) throws(VhostUserError) {
        guard let request = FrontEndRequest(rawValue: header.request) else {
            throw .violation("Request \(header.request) is not known.")
        }
        guard !header.isReply else { throw .violation("\(request.name) came as a reply.") }
        var reader = PayloadReader(payload)
        guard let message = Self.decode(request, &reader), reader.isAtEnd else {
            throw .violation("\(request.name) with \(payload.count) bytes of payload is malformed.")
        }
        let expected = message.descriptors
        guard expected.contains(descriptors) else {
            throw .violation("\(request.name) came with \(descriptors) descriptors; expected \(expected.lowerBound).")
        }
        self = message
    }

    /// How many descriptors come with the message.
    var descriptors: ClosedRange<Int> {
        switch self {
        case .setMemoryTable(let regions): regions.count...regions.count
        case .addMemoryRegion, .setBackendRequestSocket, .setInFlight, .setDeviceStateDescriptor, .setLogBase, .setLogEvent: 1...1
        // Old front-ends send the region's once more.
        case .removeMemoryRegion: 0...1
        case .setRingKick(let ring), .setRingCall(let ring), .setRingError(let ring): ring.isPresent ? 1...1 : 0...0
        default: 0...0
        }
    }

    private static func decode(_ request: FrontEndRequest, _ reader: inout PayloadReader) -> FrontEndMessage? {
        switch request {
        case .getFeatures: .getFeatures
        case .setFeatures: reader.uint64().map { .setFeatures($0) }
        case .setOwner: .setOwner
        case .resetOwner: .resetOwner
        case .setMemoryTable: memoryTable(&reader).map { .setMemoryTable($0) }
        case .setLogBase: LogDescription(&reader).map { .setLogBase($0) }
        case .setLogEvent: ignoring(&reader, .setLogEvent)
        case .setRingSize: RingState(&reader).map { .setRingSize($0) }
        case .setRingAddresses: RingAddresses(&reader).map { .setRingAddresses($0) }
        case .setRingBase: RingState(&reader).map { .setRingBase($0) }
        case .getRingBase: RingState(&reader).map { .getRingBase($0) }
        case .setRingKick: reader.uint64().map { .setRingKick(RingDescriptor($0)) }
        case .setRingCall: reader.uint64().map { .setRingCall(RingDescriptor($0)) }
        case .setRingError: reader.uint64().map { .setRingError(RingDescriptor($0)) }
        case .getProtocolFeatures: .getProtocolFeatures
        case .setProtocolFeatures: reader.uint64().map { .setProtocolFeatures($0) }
        case .getQueueCount: .getQueueCount
        case .setRingEnable: RingState(&reader).map { .setRingEnable($0) }
        case .setBackendRequestSocket: ignoring(&reader, .setBackendRequestSocket)
        case .getConfiguration: ConfigurationAccess(&reader, mayLackBytes: true).map { .getConfiguration($0) }
        case .setConfiguration: ConfigurationAccess(&reader).map { .setConfiguration($0) }
        case .resetDevice: .resetDevice
        case .getMaxMemorySlots: .getMaxMemorySlots
        case .addMemoryRegion: region(&reader).map { .addMemoryRegion($0) }
        case .removeMemoryRegion: region(&reader).map { .removeMemoryRegion($0) }
        case .setStatus: reader.uint64().map { .setStatus($0) }
        case .getStatus: .getStatus
        case .getInFlight: InFlightDescription(&reader).map { .getInFlight($0) }
        case .setInFlight: InFlightDescription(&reader).map { .setInFlight($0) }
        case .setDeviceStateDescriptor: DeviceStateTransfer(&reader).map { .setDeviceStateDescriptor($0) }
        case .checkDeviceState: .checkDeviceState
        case .control: .control(reader.rest())
        case .getReason: .getReason
        }
    }

    /// A request without content that some front-ends send with a number.
    private static func ignoring(_ reader: inout PayloadReader, _ message: FrontEndMessage) -> FrontEndMessage? {
        if !reader.isAtEnd { _ = reader.uint64() }
        return message
    }

    private static func memoryTable(_ reader: inout PayloadReader) -> [MemoryRegionDescription]? {
        guard let count = reader.uint32(), reader.uint32() != nil, (1...UInt32(mostRegions)).contains(count) else { return nil }
        var regions: [MemoryRegionDescription] = []
        for _ in 0..<count {
            guard let region = MemoryRegionDescription(&reader) else { return nil }
            regions.append(region)
        }
        return regions
    }

    private static func region(_ reader: inout PayloadReader) -> MemoryRegionDescription? {
        guard reader.uint64() != nil else { return nil }  // padding
        return MemoryRegionDescription(&reader)
    }
}
