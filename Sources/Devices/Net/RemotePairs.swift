import Virtio

/// Queue pairs that are a device of their own, in another process.
final class RemotePairs: PairHost {
    private let device: any VirtioDevice

    init(_ device: any VirtioDevice) { self.device = device }

    /// Not here.
    var context: DeviceContext? { nil }
    func activate(_ activation: consuming Activation) throws(DeviceError) { try device.activate(activation) }
    func reset() throws(DeviceError) { try device.reset() }
    func sleep() throws(DeviceError) -> QueueSet? { try device.sleep() }
    func stopQueue(_ queue: Int) throws(DeviceError) -> ActiveQueue? { try device.stopQueue(queue) }
    func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) { try device.startQueue(queue) }

    /// The other device learns it with the rest of the personality.
    func setEnabled(_ index: Int, _ isEnabled: Bool, also body: (Bool) -> Void) {}
}
