extension FrontEndMessage {
    /// The number of the request.
    public var request: FrontEndRequest {
        switch self {
        case .getFeatures: .getFeatures
        case .setFeatures: .setFeatures
        case .setOwner: .setOwner
        case .resetOwner: .resetOwner
        case .setMemoryTable: .setMemoryTable
        case .setLogBase: .setLogBase
        case .setLogEvent: .setLogEvent
        case .setRingSize: .setRingSize
        case .setRingAddresses: .setRingAddresses
        case .setRingBase: .setRingBase
        case .getRingBase: .getRingBase
        case .setRingKick: .setRingKick
        case .setRingCall: .setRingCall
        case .setRingError: .setRingError
        case .getProtocolFeatures: .getProtocolFeatures
        case .setProtocolFeatures: .setProtocolFeatures
        case .getQueueCount: .getQueueCount
        case .setRingEnable: .setRingEnable
        case .setBackendRequestSocket: .setBackendRequestSocket
        case .getConfiguration: .getConfiguration
        case .setConfiguration: .setConfiguration
        case .getInFlight: .getInFlight
        case .setInFlight: .setInFlight
        case .resetDevice: .resetDevice
        case .getMaxMemorySlots: .getMaxMemorySlots
        case .addMemoryRegion: .addMemoryRegion
        case .removeMemoryRegion: .removeMemoryRegion
        case .setStatus: .setStatus
        case .getStatus: .getStatus
        case .setDeviceStateDescriptor: .setDeviceStateDescriptor
        case .checkDeviceState: .checkDeviceState
        case .control: .control
        case .getReason: .getReason
        }
    }

    /// The payload.
    public var payload: [UInt8] {
        var writer = PayloadWriter()
        switch self {
        case .getFeatures, .setOwner, .resetOwner, .getProtocolFeatures, .getQueueCount, .setBackendRequestSocket, .resetDevice,
            .getMaxMemorySlots, .getStatus, .checkDeviceState, .getReason, .setLogEvent:
            break
        case .setFeatures(let value), .setProtocolFeatures(let value), .setStatus(let value): writer.append(value)
        case .setRingSize(let ring), .setRingBase(let ring), .getRingBase(let ring), .setRingEnable(let ring): ring.write(to: &writer)
        case .setRingKick(let ring), .setRingCall(let ring), .setRingError(let ring): writer.append(ring.word)
        case .setRingAddresses(let ring): ring.write(to: &writer)
        case .setMemoryTable(let regions):
            writer.append(UInt32(truncatingIfNeeded: regions.count))
            writer.append(UInt32(0))
            for region in regions { region.write(to: &writer) }
        case .addMemoryRegion(let region), .removeMemoryRegion(let region):
            writer.append(UInt64(0))
            region.write(to: &writer)
        case .setLogBase(let log): log.write(to: &writer)
        case .getConfiguration(let access), .setConfiguration(let access): access.write(to: &writer)
        case .getInFlight(let region), .setInFlight(let region): region.write(to: &writer)
        case .setDeviceStateDescriptor(let transfer): transfer.write(to: &writer)
        case .control(let text): writer.append(text)
        }
        return writer.bytes
    }
}
