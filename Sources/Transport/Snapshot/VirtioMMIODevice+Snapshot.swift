public import Schema
public import Virtio

extension VirtioMMIODevice {
    /// Where the device is in its life.
    public var lifecycle: Lifecycle { transport.lifecycle }

    /// The same without waiting; nil while it changes.
    public var settledLifecycle: Lifecycle? { transport.settledLifecycle }

    /// Stops the device and takes its queues.
    public func sleep() throws { try transport.sleep() }

    /// Gives the queues back, each with one kick and one interrupt.
    public func wake() throws {
        try transport.wake()
        // An edge that was on its way is not part of any snapshot.
        interrupts.repeatEdge()
    }

    /// Registers, queues and the device's own state; asleep only.
    public func snapshot() throws -> JSONValue {
        try transport.snapshot(kind: .mmio, ["interruptStatus": .integer(clamping: interrupts.status)])
    }

    /// Takes over a snapshot; asleep and new only, else `LifecycleError`; `StateError` names what in it is wrong.
    public func restore(_ document: SavedValue) throws {
        let saved = try transport.restore(document, kind: .mmio)
        interrupts.status = try saved.read { (fields) throws(StateError) in try fields.integer("interruptStatus", in: 0...3) }
    }
}
