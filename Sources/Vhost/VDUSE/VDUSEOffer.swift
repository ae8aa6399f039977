public import Virtio

/// What the host's kernel is shown of a device.
public struct VDUSEOffer: Sendable, Equatable {
    /// The kind of device.
    public let deviceType: DeviceType
    /// The features.
    public let features: Features
    /// The largest size of each queue.
    public let queueSizes: [UInt16]
    /// Configuration space.
    public let configuration: [UInt8]

    /// What a device is shown as, with the first `configurationSize` bytes of its configuration space.
    public init(_ device: any VirtioDevice, configurationSize: Int) {
        deviceType = device.deviceType
        features = Self.features(of: device)
        queueSizes = Array(device.queueMaxSizes.prefix(device.dataQueueCount))
        configuration = Self.configuration(of: device, count: configurationSize)
    }

    /// The device's features but for those that VDUSE cannot do: no queue is reset alone, and no driver writes to configuration space. The
    /// kernel insists on ACCESS_PLATFORM: the addresses are those that it has mapped for the device.
    static func features(of device: any VirtioDevice) -> Features {
        var features = device.features.subtracting(device.frontEndFeatures).subtracting(.ringReset).union(.accessPlatform)
        // VIRTIO_BLK_F_CONFIG_WCE.
        if device.deviceType == .block { features.remove(Features(bit: 11)) }
        return features
    }

    static func configuration(of device: any VirtioDevice, count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        device.readConfiguration(at: 0, into: &span)
        return bytes
    }
}
