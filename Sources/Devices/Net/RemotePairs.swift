public import Virtio

/// Uses queues of a data path that is elsewhere, or lets them rest (vhost-user, SET_VRING_ENABLE). Called before they start as well.
public typealias QueueSwitch = @Sendable (_ queues: Range<Int>, _ isEnabled: Bool) throws(DeviceError) -> Void

/// Queue pairs that are a device of their own, in another process.
final class RemotePairs: PairHost {
    private let device: any VirtioDevice
    /// How that is told which pairs are in use; nil: it learns it with the rest of the personality.
    private let enable: QueueSwitch?

    init(_ device: any VirtioDevice, enable: QueueSwitch? = nil) { (self.device, self.enable) = (device, enable) }

    /// Not here.
    var context: DeviceContext? { nil }
    func activate(_ activation: consuming Activation) throws(DeviceError) { try device.activate(activation) }
    func goOn(_ activation: consuming Activation) throws(DeviceError) { try device.wake(activation) }
    func reset() throws(DeviceError) { try device.reset() }
    func sleep() throws(DeviceError) -> QueueSet? { try device.sleep() }
    func stopQueue(_ queue: Int) throws(DeviceError) -> ActiveQueue? { try device.stopQueue(queue) }
    func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) { try device.startQueue(queue) }

    func setEnabled(_ index: Int, _ isEnabled: Bool, also body: (Bool) -> Void) throws(DeviceError) {
        try enable?(2 * index..<2 * index + 2, isEnabled)
    }
}
