public import Host
import Synchronization
public import Virtio

/// A vDPA device of the host's kernel: a device that speaks virtio on its rings and is set up through `/dev/vhost-vdpa-N`, whatever hardware
/// or program it is.
///
/// It knows nothing of guests. Addresses are those of the device's I/O page table, in which its owner maps what the device is to reach.
/// Every method is one request and may wait for the device; any thread may call. The kernel opens the node for one process at a time, resets
/// the device when it is opened, and resets it and forgets all mappings when this object goes.
public final class VhostVdpa: Sendable {
    let kernel: any VdpaKernel
    /// What the kernel's side can do, of what was asked for.
    public let backendFeatures: BackendFeatures
    let batch = Mutex<UInt32?>(nil)

    /// Takes over an open node, read and write, and agrees on what both ends know of the interface.
    public convenience init(_ node: consuming OwnedDescriptor, wanted: BackendFeatures = .known) throws(VdpaError) {
        try self.init(VdpaNode(node), wanted: wanted)
    }

    /// The same with any kernel's side.
    public init(_ kernel: any VdpaKernel, wanted: BackendFeatures = .known) throws(VdpaError) {
        self.kernel = kernel
        // Not a vDPA device: the kernel's answer to the first request is ENOTTY.
        do throws(SystemError) { _ = try kernel.deviceID() } catch {
            guard error.errno == .notTerminal || error.errno == .invalidArgument else { throw VdpaError(error) }
            throw VdpaError(.unsupported, "This is no vDPA device (\(error)).")
        }
        var agreed = BackendFeatures(rawValue: try asked { () throws(SystemError) in try kernel.backendFeatures() }).intersection(wanted)
        // Without the form of messages that names them there are no address spaces, and the kernel refuses the one without the other.
        if !agreed.contains(.tableMessages2) { agreed.subtract([.addressSpaces, .descriptorAddressSpaces]) }
        let word = agreed.rawValue
        try asked { () throws(SystemError) in
            try kernel.setBackendFeatures(word)
            try kernel.setOwner()
        }
        backendFeatures = agreed
    }

    // MARK: The device

    /// The kind of device (VHOST_VDPA_GET_DEVICE_ID).
    public func deviceType() throws(VdpaError) -> DeviceType {
        let number = try asked { () throws(SystemError) in try kernel.deviceID() }
        guard let type = UInt16(exactly: number) else { throw VdpaError(.other, "The device says that its type is \(number).") }
        return DeviceType(rawValue: type)
    }

    /// The device status field (virtio 1.3, 2.1).
    public func status() throws(VdpaError) -> DeviceStatus {
        DeviceStatus(rawValue: try asked { () throws(SystemError) in try kernel.status() })
    }

    /// Sets bits of the status field, and looks whether they are set.
    /// - Throws: `refused` when the device does not take them, as it does with FEATURES_OK for features that it cannot work with.
    public func addStatus(_ bits: DeviceStatus) throws(VdpaError) {
        let wanted = try status().union(bits)
        try asked { () throws(SystemError) in try kernel.setStatus(wanted.rawValue) }
        let found = try status()
        guard found.isSuperset(of: bits) else {
            let what =
                bits == .featuresOK ? "The device cannot work with the features that were negotiated" : "The device did not take its status"
            throw VdpaError(.refused, "\(what) (wrote \(wanted.rawValue), read \(found.rawValue)).")
        }
    }

    /// Sets the status to 0: the device stops and forgets its driver. What is mapped stays mapped as far as the kernel knows; whether the
    /// device still knows says `persistentTable`.
    public func reset() throws(VdpaError) {
        try asked { () throws(SystemError) in try kernel.setStatus(0) }
        let found = try status()
        guard found.isEmpty else { throw VdpaError(.refused, "The device cannot be reset (its status is \(found.rawValue)).") }
    }

    /// The features on offer.
    public func features() throws(VdpaError) -> Features {
        Features(rawValue: try asked { () throws(SystemError) in try kernel.features() })
    }

    /// Writes the negotiated features; before FEATURES_OK only.
    public func setFeatures(_ features: Features) throws(VdpaError) {
        try asked { () throws(SystemError) in try kernel.setFeatures(features.rawValue) }
    }

    /// Stops the device: it takes nothing more from its queues, and keeps all that is needed to go on. Then `queuePosition` can be trusted.
    /// - Throws: `unsupported` where `backendFeatures` lacks `suspend`.
    public func suspend() throws(VdpaError) {
        guard backendFeatures.contains(.suspend) else {
            throw VdpaError(.unsupported, "The device cannot be suspended (VHOST_BACKEND_F_SUSPEND).")
        }
        try asked { () throws(SystemError) in try kernel.suspend() }
    }

    /// Lets a suspended device go on.
    /// - Throws: `unsupported` where `backendFeatures` lacks `resume`: then it must be set up anew.
    public func resume() throws(VdpaError) {
        guard backendFeatures.contains(.resume) else {
            throw VdpaError(.unsupported, "The device cannot be resumed (VHOST_BACKEND_F_RESUME).")
        }
        try asked { () throws(SystemError) in try kernel.resume() }
    }

    // MARK: Configuration space

    /// Bytes of configuration space.
    public func configurationSize() throws(VdpaError) -> Int {
        Int(clamping: try asked { () throws(SystemError) in try kernel.configurationSize() })
    }

    /// Reads `count` bytes of configuration space, more than 0 and inside it.
    public func configuration(at offset: Int = 0, count: Int) throws(VdpaError) -> [UInt8] {
        guard let start = UInt32(exactly: offset), (1...65536).contains(count) else {
            throw VdpaError(.outOfRange, "There is no configuration space at \(offset), \(count) bytes.")
        }
        return try asked { () throws(SystemError) in try kernel.configuration(at: start, count: count) }
    }

    /// Writes to configuration space, more than 0 bytes and inside it.
    public func setConfiguration(_ bytes: [UInt8], at offset: Int) throws(VdpaError) {
        guard let start = UInt32(exactly: offset), (1...65536).contains(bytes.count) else {
            throw VdpaError(.outOfRange, "There is no configuration space at \(offset), \(bytes.count) bytes.")
        }
        try asked { () throws(SystemError) in try kernel.setConfiguration(bytes, at: start) }
    }

    /// The event that is signalled when configuration space has changed; nil: none.
    public func setConfigurationCall(_ event: EventFD?) throws(VdpaError) {
        try asked { () throws(SystemError) in try kernel.setConfigurationCall(event) }
    }
}
