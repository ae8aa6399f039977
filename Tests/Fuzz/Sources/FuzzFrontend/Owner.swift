import FuzzSupport
import GuestMemory
import Host
import Schema
import VhostUser
import Virtio
import Virtqueue

/// What a transport, and whoever owns a machine, do with a front-end.
final class Owner {
    enum Action: UInt8, CaseIterable {
        case activate, sleep, wake, stopQueue, startQueue, read, write, save, load, reset, control, acknowledge, recover, handOver, giveUp
    }

    private final class Interrupts: InterruptSink {
        let call: EventFD
        init() throws { call = try EventFD() }
        func callEvent(_ queue: Int) -> EventFD? { call }
        func queueUsed(_ queue: Int) {}
        func configurationChanged() {}
        func deviceNeedsReset() {}
    }

    private let frontend: VhostUserFrontend
    private let answers: Answers
    private let features: Features
    private let memory: GuestMemory
    private let interrupts: Interrupts
    /// Those that are asked later, too.
    private var backEnds: [HostileBackEnd] = []
    private var resting: QueueSet?

    init(_ frontend: VhostUserFrontend, _ answers: Answers, isPacked: Bool) throws {
        (self.frontend, self.answers) = (frontend, answers)
        features = isPacked ? [.version1, .ringPacked] : [.version1]
        memory = try GuestMemory(ranges: [0..<1 << 18], isShared: true)
        interrupts = try Interrupts()
    }

    /// Does what a byte names; its highest bit is an argument. Whatever the back-end has made impossible is an error with a text.
    func perform(_ byte: UInt8) throws {
        let action = Action.allCases[Int(byte & 0x7f) % Action.allCases.count]
        do {
            try perform(action, byte >> 7 == 1)
        } catch let error as SystemError {
            throw error
        } catch {
            guard !"\(error)".isEmpty else { fatalError("\(action) failed without a word.") }
        }
    }

    private func perform(_ action: Action, _ flag: Bool) throws {
        let queue = flag ? 1 : 0
        switch action {
        case .activate: try frontend.activate(try activation(try fresh()))
        case .sleep: if let queues = try frontend.sleep() { resting = consume queues }
        case .wake:
            guard let queues = resting.take() else { return try frontend.wake(nil) }
            try frontend.wake(try activation(queues))
        case .stopQueue: _ = try frontend.stopQueue(queue)
        case .startQueue: try frontend.startQueue(try self.queue(queue))
        case .read:
            var bytes = [UInt8](repeating: 0, count: 80)
            var span = bytes.mutableSpan
            frontend.readConfiguration(at: flag ? 50 : 0, into: &span)
        case .write: frontend.writeConfiguration(at: flag ? 57 : 0, from: [1, 2, 3].span)
        case .save: _ = JSONText.encode(try frontend.snapshot())
        case .load: try frontend.restore(SavedValue(flag ? ["backEnd": "AAECAw=="] : ["size": [1, 2]]))
        case .reset: try frontend.reset()
        case .control: try frontend.controlNotify(["columns": 80])
        case .acknowledge: frontend.acknowledge(features)
        case .recover: try frontend.recover(try next())
        case .handOver: try frontend.handOver(to: try next())
        case .giveUp: frontend.giveUp()
        }
    }

    /// Another back-end, which goes on with the script.
    private func next() throws -> OwnedDescriptor {
        let backEnd = try HostileBackEnd(answers)
        backEnds.append(backEnd)
        return try backEnd.socket()
    }

    private func queue(_ index: Int) throws -> ActiveQueue {
        var configuration = QueueConfiguration(maxSize: Kind.queueSize)
        configuration.ready = true
        configuration.descriptorArea = 0x1000 + UInt64(index) * 0x1_0000
        configuration.driverArea = configuration.descriptorArea + 0x4000
        configuration.deviceArea = configuration.descriptorArea + 0x8000
        let ring = try GuestQueue(configuration, features: features.ring, memory: memory)
        return ActiveQueue(index: index, ring: ring, kick: try EventFD())
    }

    private func fresh() throws -> QueueSet {
        var queues = QueueSet(count: Kind.queueCount)
        for index in 0..<Kind.queueCount { queues.put(try queue(index)) }
        return queues
    }

    private func activation(_ queues: consuming QueueSet) throws -> Activation {
        Activation(memory: memory, interrupt: Interrupt(interrupts), features: features, queues: queues)
    }
}
