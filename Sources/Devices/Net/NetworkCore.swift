import Host
import Synchronization
import Virtio

/// A data path of which the personality says whether it is in use.
protocol PairWorkload: ~Copyable, QueueWorkload {
    var isEnabled: Bool { get set }
}

/// The data path of all queue pairs, wherever it is.
protocol PairHost: AnyObject, Sendable {
    /// What the data path was activated with; nil while it is not active, or not here.
    var context: DeviceContext? { get }
    /// Takes the queues of an activation.
    func activate(_ activation: consuming Activation) throws(DeviceError)
    /// Takes the queues of an activation again, after a sleep. When that fails, `sleep` gives them back.
    func goOn(_ activation: consuming Activation) throws(DeviceError)
    /// Stops all pairs and drops their queues.
    func reset() throws(DeviceError)
    /// Stops all pairs and gives their queues back; nil when they are not active.
    func sleep() throws(DeviceError) -> QueueSet?
    /// Stops one queue and gives it back; nil when it was not running.
    func stopQueue(_ queue: Int) throws(DeviceError) -> ActiveQueue?
    /// Starts one queue.
    func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError)
    /// Changes whether a pair is in use, between two runs of its worker: when this returns, the change has happened.
    func setEnabled(_ index: Int, _ isEnabled: Bool, also body: (Bool) -> Void) throws(DeviceError)
}

extension DeviceWorkers: PairHost where Workload: PairWorkload & ~Copyable {
    func goOn(_ activation: consuming Activation) throws(DeviceError) { try activate(activation) }

    func setEnabled(_ index: Int, _ isEnabled: Bool, also body: (Bool) -> Void) throws(DeviceError) {
        try withStopped(worker: index) { workload in
            workload.isEnabled = isEnabled
            body(isEnabled)
        }
    }
}

/// The personality of a network device, and its hold on the data path: shared by the device's hooks and its control queue.
final class NetworkCore: Sendable {
    static let controlQueueSize: UInt16 = 64

    let personality: Mutex<NetworkPersonality>
    let state: LinkState
    private let pairs: any PairHost
    /// The queues of the tap, one for each pair; none when the link is a stream.
    private let taps: [TapQueue]
    private let pairCount: Int
    /// The data path, where that is a device of its own in another process, with a personality that follows this one.
    private let follower: (any VirtioDevice)?
    /// The queues that run.
    private let running = Mutex<Set<Int>>([])

    init(
        _ personality: NetworkPersonality, state: LinkState, pairs: any PairHost, taps: [TapQueue], follower: (any VirtioDevice)? = nil
    ) {
        self.follower = follower
        self.personality = Mutex(personality)
        self.state = state
        self.pairs = pairs
        self.taps = taps
        pairCount = personality.maxPairs
    }

    /// Carries out a control command. What it changes has taken effect when this returns (5.1.6.5.2.1, 5.1.6.5.5.2).
    func execute(_ command: [UInt8], _ context: DeviceContext) -> Bool {
        let outcome = personality.withLock { (personality) -> (NetworkEffect, NetworkPersonality)? in
            guard let effect = try? personality.execute(command) else { return nil }
            return (effect, personality)
        }
        guard let (effect, personality) = outcome else { return false }
        do {
            if let follower {
                if effect != .none { try follower.controlNotify(personality.followed) }
                return true
            }
            switch effect {
            case .none: break
            case .filter: applyFilter(personality)
            case .pairs: try applyPairs(personality)
            case .offloads: try applyOffloads(personality)
            }
            return true
        } catch {
            context.warn("a control command failed: \(error)")
            return false
        }
    }

    /// Brings the whole data path in line with the personality.
    func applyAll() throws(DeviceError) {
        let personality = personality.withLock { $0 }
        if let follower { return try follower.controlNotify(personality.followed) }
        applyFilter(personality)
        try applyOffloads(personality)
        try applyPairs(personality)
    }

    // MARK: Pairs that a front-end starts and stops

    /// From now on these queues run, and no others.
    func begin(queues started: Set<Int>) {
        running.withLock { $0 = started }
        for index in 1..<max(taps.count, 1) { attachAsItRuns(index) }
    }

    /// A queue is about to run.
    func noteStarted(_ queue: Int) {
        running.withLock { _ = $0.insert(queue) }
        attachAsItRuns(queue / 2)
    }

    /// A queue has stopped.
    func noteStopped(_ queue: Int) {
        running.withLock { _ = $0.remove(queue) }
        attachAsItRuns(queue / 2)
    }

    /// Where a front-end has the control queue, which pairs are in use shows in which queues run. Into a queue of the tap that nobody reads, the
    /// kernel must put no frames. The first pair is always in use.
    private func attachAsItRuns(_ index: Int) {
        guard index > 0, taps.indices.contains(index) else { return }
        let (negotiated, pairs) = personality.withLock { ($0.negotiated, $0.pairs) }
        guard negotiated.contains(.netMultiQueue), !negotiated.contains(.netControlQueue) else { return }
        let isInUse = running.withLock { $0.contains(2 * index) || $0.contains(2 * index + 1) }
        // A tap that has gone is noticed by whoever reads it.
        try? taps[index].setAttached(isInUse && index < pairs)
    }

    private func applyFilter(_ personality: NetworkPersonality) { state.set(personality.filter, own: personality.mac) }

    private func applyPairs(_ personality: NetworkPersonality) throws(DeviceError) {
        guard pairCount > 1 else { return }
        var failure: SystemError?
        for index in 0..<pairCount {
            try pairs.setEnabled(index, index < personality.pairs) { isEnabled in
                guard taps.indices.contains(index) else { return }
                do throws(SystemError) { try taps[index].setAttached(isEnabled) } catch { failure = error }
            }
        }
        if let failure { throw DeviceError("The queues of the tap could not be attached (\(failure)).") }
    }

    private func applyOffloads(_ personality: NetworkPersonality) throws(DeviceError) {
        state.takesUnfinished.store(personality.guestOffloads.contains(.netGuestChecksum), ordering: .relaxed)
        guard let tap = taps.first else { return }
        do throws(SystemError) {
            try tap.setOffloads(TapOffloads(personality.guestOffloads))
        } catch {
            throw DeviceError("The offloads of the tap could not be set (\(error)).")
        }
    }
}

extension TapOffloads {
    /// The tap's names for receive offloads of the driver.
    init(_ features: Features) {
        self = []
        guard features.contains(.netGuestChecksum) else { return }
        insert(.checksum)
        if features.contains(.netGuestTSO4) { insert(.tcp4) }
        if features.contains(.netGuestTSO6) { insert(.tcp6) }
        if features.contains(.netGuestECN), !intersection([.tcp4, .tcp6]).isEmpty { insert(.ecn) }
        if features.contains(.netGuestUFO) { insert(.udp) }
    }
}
