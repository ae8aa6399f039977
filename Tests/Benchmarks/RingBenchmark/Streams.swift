// What the asynchronous runtime adds to a chain: the same batches of 16 through `DeviceQueue` and through a `ChainStream`, with the driver on the
// same thread. The driver's part is measured alone and taken away: its rings, and, beside the stream, the turns of its task.

import GuestMemory
import Host
import Virtio
import Virtqueue

/// How many chains a driver makes available at once.
let streamBatch = 16

/// The driver's side of a measurement: adds a batch, and takes it back.
struct BatchDriver: ~Copyable {
    private var queue: DriverQueue<GuestMemory>
    private let header: [DriverBuffer] = [DriverBuffer(address: dataAddress, count: 16)]
    private let rest: [DriverBuffer] = [
        DriverBuffer(address: dataAddress + 0x1000, count: 4096), DriverBuffer(address: dataAddress + 0x2000, count: 1),
    ]

    init(_ features: RingFeatures, memory: GuestMemory) throws {
        queue = try DriverQueue(configuration(features.format), features: features, memory: memory)
    }

    /// Makes a batch available; whether the device wants to know.
    mutating func add() -> Bool {
        let (header, rest) = (header, rest)
        for _ in 0..<streamBatch {
            guard (try? queue.add(readable: header.span, writable: rest.span)) != nil else { fatalError("the ring is full") }
        }
        return queue.publish()
    }

    /// Takes back what the device has used, and asks for a notification with the next; how many there were.
    mutating func collect() -> Int {
        var count = 0
        repeat {
            while let entry = try? queue.popUsed(), entry.written == 4097 { count += 1 }
        } while queue.setUsedNotifications(true)
        return count
    }
}

/// Notifications of the device end here.
final class BatchSink: InterruptSink {
    let waiter: Waiter?
    init(_ waiter: Waiter? = nil) { self.waiter = waiter }
    func queueUsed(_ queue: Int) { waiter?.signal() }
    func configurationChanged() {}
    func deviceNeedsReset() { fatalError("the device under test failed") }
}

/// The device: completes chains. Its driver is another task of the same loop.
struct StreamDevice: AsyncDevice, ~Copyable {
    let batches: Int
    let features: RingFeatures
    let stop: EventFD
    let done: Waiter

    func run(_ device: RunningDevice) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [batches, features, stop, done] in
                await Self.drive(device, batches, features, done)
                stop.signal()
            }
            group.addTask { await Self.serve(device) }
        }
    }

    private static func serve(_ device: RunningDevice) async {
        guard var stream = try? device.takeStream(0) else { return }
        while let chain = await stream.next() { chain.complete(written: 4097) }
    }

    private static func drive(_ device: RunningDevice, _ batches: Int, _ features: RingFeatures, _ done: Waiter) async {
        guard var driver = try? BatchDriver(features, memory: device.context.memory) else { return }
        for _ in 0..<batches {
            if driver.add() { try? device.notifyQueue(0) }
            var back = driver.collect()
            while back < streamBatch {
                _ = await done.wait()
                back += driver.collect()
            }
        }
    }
}

/// ns per chain of `batches` batches through a stream, the driver's part included.
func measureStream(_ features: RingFeatures, batches: Int, memory: GuestMemory) throws -> Double {
    let loop = try EventLoop()
    let (stop, done) = (try EventFD(), Waiter(loop))
    var queues = QueueSet(count: 1)
    let ring = try GuestQueue(configuration(features.format), features: features, memory: memory)
    queues.put(ActiveQueue(index: 0, ring: ring, kick: try EventFD()))
    let activation = Activation(memory: memory, interrupt: Interrupt(BatchSink(done)), features: .ours, queues: QueueSet(count: 0))
    let device = StreamDevice(batches: batches, features: features, stop: stop, done: done)
    var workload = AsyncWorkload(device, queueCount: 1, on: loop)
    workload.begin(DeviceContext(activation, label: "bench"))
    guard let queue = queues.take(0) else { fatalError("no queue") }
    workload.attach(queue)
    let start = ContinuousClock.now
    workload.run(until: stop)
    return nanoseconds(ContinuousClock.now - start) / Double(batches * streamBatch)
}

/// Two tasks that only wake each other.
struct TurnDevice: AsyncDevice {
    let turns: Int
    let stop: EventFD

    func run(_ device: RunningDevice) async {
        let (one, other) = (Waiter(device.loop), Waiter(device.loop))
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [turns] in
                for _ in 0..<turns {
                    one.signal()
                    _ = await other.wait()
                }
            }
            group.addTask { [turns] in
                for _ in 0..<turns {
                    _ = await one.wait()
                    other.signal()
                }
            }
        }
        stop.signal()
    }
}

/// ns of a turn of one task, by `turns` of two.
func measureTurn(_ turns: Int, memory: GuestMemory) throws -> Double {
    let stop = try EventFD()
    let activation = Activation(memory: memory, interrupt: Interrupt(BatchSink()), features: .ours, queues: QueueSet(count: 0))
    var workload = try AsyncWorkload(TurnDevice(turns: turns, stop: stop), queueCount: 0)
    workload.begin(DeviceContext(activation, label: "bench"))
    let start = ContinuousClock.now
    workload.run(until: stop)
    return nanoseconds(ContinuousClock.now - start) / Double(2 * turns)
}

extension RingFeatures {
    /// The same format without indirect tables.
    var plain: RingFeatures { RingFeatures(format: format, eventIndex: eventIndex) }
}

/// The same with `DeviceQueue`: all of it, and the device's part alone.
func measureCore(_ features: RingFeatures, batches: Int, memory: GuestMemory) throws -> (total: Double, device: Double) {
    var driver = try BatchDriver(features, memory: memory)
    var queue = try GuestQueue(configuration(features.format), features: features, memory: memory)
    var chain = ChainBuffer(capacity: 8)
    let interrupt = Interrupt(BatchSink())
    var spent = Duration.zero
    let start = ContinuousClock.now
    for _ in 0..<batches {
        _ = driver.add()
        let begin = ContinuousClock.now
        queue.disableNotifications()
        repeat {
            while try queue.pop(into: &chain) { queue.complete(chain, written: 4097) }
            if queue.publish() { interrupt.signalQueue(0) }
        } while try queue.enableNotifications()
        spent += ContinuousClock.now - begin
        guard driver.collect() == streamBatch else { fatalError("chains are missing") }
    }
    let chains = Double(batches * streamBatch)
    return (nanoseconds(ContinuousClock.now - start) / chains, nanoseconds(spent) / chains)
}
