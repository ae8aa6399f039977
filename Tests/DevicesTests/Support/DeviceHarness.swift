import GuestMemory
import Host
import VhostUser
import Virtio
import Virtqueue

/// Something that a test waited for did not come in time.
struct Timeout: Error, CustomStringConvertible {
    let description: String
    init(_ what: String) { description = "waited too long for \(what)" }
}

/// A driver for any device, in the same process and without a transport: guest memory, a `DriverQueue` per queue, doorbells, interrupts.
///
/// For one thread. Buffers come from a bump allocator that `releaseBuffers` empties.
final class DeviceHarness {
    /// How the rings are laid out.
    struct Rings: CustomStringConvertible, Sendable {
        var format = RingFormat.split
        var indirect = true
        var eventIndex = true
        var size: UInt16?
        /// Whether the device stands behind a vhost-user connection.
        var isRemote = false
        var description: String {
            "\(format)\(indirect ? ", indirect" : "")\(eventIndex ? ", event index" : "")\(isRemote ? ", vhost-user" : "")"
        }

        private static let remote = [Rings(format: .split, isRemote: true), Rings(format: .packed, isRemote: true)]
        /// Both formats, each with the device in the same process and behind a vhost-user connection.
        static let both = local + remote
        /// Both formats, with the device in the same process.
        static let local = [Rings(format: .split), Rings(format: .packed)]
        static let all =
            [RingFormat.split, .packed].flatMap { format in
                [true, false].flatMap { indirect in
                    [true, false].map { Rings(format: format, indirect: indirect, eventIndex: $0) }
                }
            } + remote
    }

    let memory: GuestMemory
    let interrupts: TestInterrupts
    let features: Features
    private(set) var device: any VirtioDevice
    private let isRemote: Bool
    private var remotes: [RemoteDevice] = []
    private var drivers: FixedArray<DriverQueue<GuestMemory>?>
    private(set) var configurations: [QueueConfiguration] = []
    private(set) var kicks: [EventFD] = []
    private var used: [[UInt16: UInt32]]
    private let poller: Poller
    /// What lies below it are rings and indirect tables.
    let firstBuffer: UInt64
    private var nextBuffer: UInt64
    /// Queues that the device has given back, while it sleeps.
    private var resting: QueueSet?

    /// Generous: only a failure takes that long.
    static let patience: UInt64 = 30_000_000_000

    /// Sets up rings for all queues of a device (or the first `queues`), and acknowledges `features` (by default all that are offered), but
    /// for what `rings` says about rings. With `tracksWrites` its memory notes what the device writes; with `isShared` other
    /// processes could have it, too.
    init(
        _ device: any VirtioDevice, rings: Rings = Rings(), features wanted: Features? = nil, queues: Int? = nil, megabytes: Int = 64,
        tracksWrites: Bool = false, isShared: Bool = false
    ) throws {
        isRemote = rings.isRemote
        if rings.isRemote {
            let remote = try RemoteDevice(device)
            remotes = [remote]
            self.device = remote.frontend
        } else {
            self.device = device
        }
        memory = try GuestMemory(
            ranges: [0..<UInt64(megabytes) << 20], isShared: isShared || rings.isRemote || device is VhostUserFrontend,
            tracksWrites: tracksWrites)
        interrupts = try TestInterrupts()
        var features = wanted ?? device.features
        func set(_ bit: Features, _ on: Bool) { if on { features.insert(bit) } else { features.remove(bit) } }
        set(.ringPacked, rings.format == .packed)
        set(.indirectDescriptors, rings.indirect)
        set(.eventIndex, rings.eventIndex)
        features.insert(.version1)
        self.features = features
        poller = try Poller()
        let count = min(queues ?? .max, self.device.queueMaxSizes.count)
        used = Array(repeating: [:], count: count)
        drivers = FixedArray(count: count) { _ in nil }
        var address: UInt64 = 4096
        func area(_ bytes: Int) -> UInt64 {
            defer { address = (address + UInt64(bytes) + 4095) & ~4095 }
            return address
        }
        for index in 0..<count {
            var configuration = QueueConfiguration(maxSize: device.queueMaxSizes[index])
            if let size = rings.size { configuration.size = min(size, configuration.maxSize) }
            configuration.ready = true
            let size = configuration.size
            configuration.descriptorArea = area(rings.format.byteCount(of: .descriptor, size: size))
            configuration.driverArea = area(rings.format.byteCount(of: .driver, size: size))
            configuration.deviceArea = area(rings.format.byteCount(of: .device, size: size))
            let entries = min(size, 64)
            let tables = IndirectTables(address: area(Int(entries) * 16 * Int(size)), entries: entries)
            drivers[index] = try DriverQueue(
                configuration, features: features.ring, memory: memory, indirectTables: rings.indirect ? tables : nil)
            configurations.append(configuration)
            kicks.append(try EventFD())
        }
        firstBuffer = address
        nextBuffer = address
        try poller.add(interrupts.event.rawValue, token: 0)
        self.device.acknowledge(features)
    }

    deinit { try? device.reset() }

    private func host(_ device: any VirtioDevice) throws -> any VirtioDevice {
        guard isRemote else { return device }
        let remote = try RemoteDevice(device)
        remotes.append(remote)
        return remote.frontend
    }

    /// Another device takes the place of the one behind the connection: see `RemoteDevice.replace`.
    func replace(with other: any VirtioDevice, orderly: Bool) throws {
        guard let current = remotes.last else { throw Timeout("a device behind a connection") }
        remotes.append(try current.replace(with: other, orderly: orderly))
    }

    // MARK: The device's life

    private func activation(_ queues: consuming QueueSet) -> Activation {
        Activation(memory: memory, interrupt: Interrupt(interrupts), features: features, queues: queues)
    }

    private func freshQueue(_ index: Int) throws -> ActiveQueue {
        let ring = try GuestQueue(configurations[index], features: features.ring, memory: memory)
        return ActiveQueue(index: index, ring: ring, kick: kicks[index])
    }

    /// DRIVER_OK.
    func activate() throws {
        var queues = QueueSet(count: configurations.count)
        for index in configurations.indices { queues.put(try freshQueue(index)) }
        try device.activate(activation(queues))
    }

    /// Status 0. The driver forgets what it had in flight; `activate` begins anew.
    func reset() throws {
        try device.reset()
        interrupts.clearNeedsReset()
        for index in configurations.indices { try restartDriver(index) }
    }

    private func restartDriver(_ index: Int) throws {
        drivers[index] = try DriverQueue(configurations[index], features: features.ring, memory: memory)
        used[index] = [:]
    }

    /// Puts the device to sleep; false when it gave no queues because it is not active.
    @discardableResult
    func sleep() throws -> Bool {
        guard let queues = try device.sleep() else { return false }
        resting = consume queues
        return true
    }

    /// Wakes the device, or another one in its place.
    func wake(_ other: (any VirtioDevice)? = nil) throws {
        if let other { device = try host(other) }
        guard let queues = resting.take() else { return try device.wake(nil) }
        try device.wake(activation(queues))
    }

    /// What the rings of a sleeping device say: nothing may be in flight.
    func restingPosition(queue index: Int) -> (position: QueuePosition, inFlight: Int)? {
        guard let queue = resting?.take(index) else { return nil }
        let result = (queue.ring.position, queue.ring.inFlight)
        resting?.put(queue)
        return result
    }

    /// Queue reset: stops a queue and drops it (2.6.1); false when it was not running.
    @discardableResult
    func stopQueue(_ index: Int) throws -> Bool {
        guard try device.stopQueue(index) != nil else { return false }
        try restartDriver(index)
        return true
    }

    /// Enables a queue again after `stopQueue`, empty.
    func startQueue(_ index: Int) throws { try device.startQueue(try freshQueue(index)) }

    /// Stops a queue and starts it again where it stood.
    func bounceQueue(_ index: Int) throws -> Bool {
        guard let queue = try device.stopQueue(index) else { return false }
        try device.startQueue(queue)
        return true
    }

    /// The queues that have rings.
    var queueCount: Int { configurations.count }

    /// The registers of a queue: where its rings lie.
    func queueConfiguration(_ index: Int) -> QueueConfiguration { configurations[index] }

    // MARK: Buffers

    /// Guest memory for a buffer, all zero the first time it is given out.
    func allocate(_ count: Int, alignment: UInt64 = 16) -> UInt64 {
        let address = (nextBuffer + alignment - 1) & ~(alignment - 1)
        nextBuffer = address + UInt64(count)
        precondition(nextBuffer <= memory.size, "the test needs more guest memory")
        return address
    }

    /// Guest memory that holds `bytes`.
    func place(_ bytes: [UInt8], alignment: UInt64 = 16) -> UInt64 {
        let address = allocate(bytes.count, alignment: alignment)
        memory.write(bytes, at: address)
        return address
    }

    /// Bytes of guest memory.
    func bytes(at address: UInt64, count: Int) -> [UInt8] { memory.read(at: address, count: count) ?? [] }

    /// Gives all buffers back to the allocator.
    func releaseBuffers() { nextBuffer = firstBuffer }

    // MARK: The driver

    /// Makes a chain available; nil when the queue is full. Rings the doorbell if the device wants it, unless `kick` is false.
    func submit(queue index: Int = 0, readable: [DriverBuffer] = [], writable: [DriverBuffer] = [], kick: Bool = true) throws -> UInt16? {
        do {
            guard let token = try drivers[index]?.add(readable: readable.span, writable: writable.span) else { return nil }
            if kick { self.kick(queue: index) }
            return token
        } catch DriverFault.full {
            return nil
        }
    }

    /// Publishes what was added, and rings the doorbell if the device wants it.
    func kick(queue index: Int = 0) {
        if drivers[index]?.publish() == true { kicks[index].signal() }
    }

    /// Publishes what was added without ringing any doorbell; whether the device wants one.
    @discardableResult
    func publish(queue index: Int = 0) -> Bool { drivers[index]?.publish() == true }

    /// Rings the doorbell whatever the device wants.
    func ring(queue index: Int = 0) { kicks[index].signal() }

    private func collect(_ index: Int) throws {
        while let entry = try drivers[index]?.popUsed() { used[index][entry.token] = entry.written }
    }

    /// Whether the device has used the chain already; its written bytes.
    func poll(queue index: Int = 0, _ token: UInt16) throws -> UInt32? {
        try collect(index)
        return used[index].removeValue(forKey: token)
    }

    /// Waits until the device has used the chain; returns the number of bytes that it claims to have written. Relies on notifications.
    func wait(queue index: Int = 0, _ token: UInt16) throws -> UInt32 {
        var written: UInt32?
        try wait(for: "a used buffer in queue \(index)") {
            written = try poll(queue: index, token)
            if written == nil, drivers[index]?.setUsedNotifications(true) == true { written = try poll(queue: index, token) }
            return written != nil || interrupts.needsReset
        }
        guard let written else { throw Timeout("a used buffer of a device that needs a reset") }
        return written
    }

    /// Waits until a condition holds, looking again whenever the device sends an interrupt.
    func wait(for what: String, _ condition: () throws -> Bool) throws {
        let deadline = monotonicNanoseconds() + Self.patience
        while try !condition() {
            guard monotonicNanoseconds() < deadline else { throw Timeout(what) }
            try poller.wait(timeoutMilliseconds: 1000) { _ in interrupts.event.drain() }
        }
    }

    /// Waits for DEVICE_NEEDS_RESET.
    func waitForNeedsReset() throws { try wait(for: "DEVICE_NEEDS_RESET") { interrupts.needsReset } }

    /// Reads configuration space as a driver does.
    func configuration<T: FixedWidthInteger>(at offset: Int, as type: T.Type = T.self) -> T {
        var bytes = [UInt8](repeating: 0xff, count: MemoryLayout<T>.size)
        var span = bytes.mutableSpan
        device.readConfiguration(at: offset, into: &span)
        return bytes.reversed().reduce(0) { $0 << 8 | T(truncatingIfNeeded: $1) }
    }

    /// Writes configuration space as a driver does.
    func setConfiguration(_ bytes: [UInt8], at offset: Int) { device.writeConfiguration(at: offset, from: bytes.span) }
}
