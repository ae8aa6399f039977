import Host
import Synchronization
import Virtio
import Virtqueue

/// A device whose code a test writes.
struct ScriptedDevice: AsyncDevice {
    let script: @Sendable (RunningDevice) async -> Void

    init(_ script: @escaping @Sendable (RunningDevice) async -> Void) { self.script = script }

    func run(_ device: RunningDevice) async { await script(device) }

    /// The same, for a driver that does not know.
    static func host(
        queues: [UInt16] = [16], _ script: @escaping @Sendable (RunningDevice) async -> Void
    ) throws -> AsyncDeviceHost<ScriptedDevice> {
        try AsyncDeviceHost(DeviceProfile(.entropy, label: "script", queueMaxSizes: queues), ScriptedDevice(script))
    }
}

/// What a device tells its test.
final class Notes<Element: Sendable & Equatable>: Sendable {
    private let notes = Mutex<[Element]>([])
    var all: [Element] { notes.withLock { $0 } }
    func add(_ note: Element) { notes.withLock { $0.append(note) } }
}

/// Adds one to each 32-bit number.
@Sendable func increment(_ chain: consuming GuestChain) {
    let number = chain.readable.readInteger(as: UInt32.self) ?? 0
    chain.writable.writeInteger(number &+ 1)
    chain.complete()
}

/// Keeps a chain longer than its device runs.
actor Keeper: Equatable {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe loop.asUnownedSerialExecutor() }
    private var kept: GuestChain?

    init(_ loop: EventLoop) { self.loop = loop }

    func run(_ device: RunningDevice, _ touches: Bool, _ taken: EventFD) async {
        guard var stream = try? device.takeStream(0), var chain = await stream.next() else { return }
        if touches { _ = chain.readable.readInteger(as: UInt8.self) }
        taken.signal()
        while await stream.next() != nil {}
        kept = consume chain
    }

    static func == (one: Keeper, other: Keeper) -> Bool { one === other }
}
