public import Schema
public import Virtio

extension VirtioMMIODevice {
    public var lifecycle: Lifecycle { transport.lifecycle }

    public func sleep() throws { try transport.sleep() }

    public func wake() throws {
        try transport.wake()
        // An edge that was on its way is not part of any snapshot.
        interrupts.repeatEdge()
    }

    public func snapshot() throws -> JSONValue {
        try transport.snapshot(kind: .mmio, ["interruptStatus": .number(interrupts.status)])
    }

    public func restore(_ document: JSONValue) throws {
        let saved = try transport.restore(document, kind: .mmio)
        interrupts.status = try saved.member("interruptStatus").integer()
    }
}
