public import Schema
public import Virtio

/// A device behind vhost-user as far as its saved state goes: it offers whatever a driver may have accepted, and cannot work. For checking
/// snapshots where no back-end is.
public final class AbsentBackEnd: VirtioDevice {
    private let profile: FrontendProfile

    /// Stands in for a device with this profile.
    public init(_ profile: FrontendProfile) { self.profile = profile }

    /// The kind of device.
    public var deviceType: DeviceType { profile.deviceType }
    /// A short name.
    public var debugLabel: String { profile.label }
    /// All queues have the size of the profile.
    public var queueMaxSizes: [UInt16] { Array(repeating: profile.queueSize, count: profile.queueCount) }
    /// Everything that is not withheld.
    public var features: Features { Features(rawValue: .max).subtracting(profile.withheld) }
    /// None.
    public var keepDescriptors: [Int32] { [] }
    /// Only what the front-end knows.
    public func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        for index in bytes.indices { bytes[index] = 0 }
    }
    /// Refused.
    public func activate(_ activation: consuming Activation) throws(DeviceError) {
        throw DeviceError("\(profile.label): there is no back-end.")
    }
    /// Nothing runs.
    public func reset() {}
    /// Nothing runs.
    public func stopQueue(_ index: Int) -> ActiveQueue? { nil }
    /// Refused.
    public func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) {
        throw DeviceError("\(profile.label): there is no back-end.")
    }
    /// Nothing runs.
    public func sleep() -> QueueSet? { nil }
    /// Refused, unless there is nothing to do.
    public func wake(_ activation: consuming Activation?) throws(DeviceError) {
        if let activation { try activate(activation) }
    }
    /// The state of a back-end is nothing that a front-end could check.
    public func snapshot() throws(DeviceError) -> JSONValue { [:] }
    /// Takes over whatever was saved.
    public func restore(_ state: SavedValue) throws(StateError) { if profile.isStateless { try state.expectEmpty() } }
}
