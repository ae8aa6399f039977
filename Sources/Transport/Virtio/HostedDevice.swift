public import Schema
public import Virtio

/// A device together with the transport that shows it to the guest: what a virtual machine puts to sleep and wakes.
///
/// Sleep, wake, snapshot and restore follow the device's `Lifecycle`; one that the lifecycle does not allow throws and changes nothing.
/// No vCPU may run between `sleep` and `wake`.
public protocol HostedDevice: AnyObject, Sendable {
    /// The device.
    var device: any VirtioDevice { get }
    /// Where the device is in its life.
    var lifecycle: Lifecycle { get }
    /// The same without waiting; nil while the device is being set up, reset, put to sleep or woken, which may take as long as its I/O.
    var settledLifecycle: Lifecycle? { get }
    /// What the device has done since it was made, and what its transport did for it, by name. From any thread at any time; each number
    /// only grows.
    var counters: [String: UInt64] { get }
    /// Stops the device and takes its queues.
    func sleep() throws
    /// Gives the queues back. Each is kicked once and interrupts once: what was signalled while the device slept is not lost.
    func wake() throws
    /// Registers, queues and the device's own state; asleep only.
    func snapshot() throws -> JSONValue
    /// Takes over a snapshot; asleep and new only. Anything missing, mistyped or out of range is a `StateError`, and the device is then
    /// fit for nothing but to be dropped.
    func restore(_ state: SavedValue) throws
}
