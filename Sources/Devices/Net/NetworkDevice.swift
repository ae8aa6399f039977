public import Host
public import Schema
import Synchronization
public import Virtio

/// What a network device is made from, but for its link.
public struct NetworkConfiguration: Sendable, Equatable {
    /// A short name for log lines and threads.
    public var label: String
    /// The guest's MAC address.
    public var mac: MACAddress
    /// The link's MTU in bytes (68…65535), told to the guest; nil tells none.
    public var mtu: UInt16?
    /// Entries per queue (1…32768, a power of two unless rings are packed).
    public var queueSize: UInt16
    /// Whether packed rings are offered.
    public var packedRing: Bool
    /// Whether offloads are offered where the link can do them.
    public var offloads: Bool

    /// A configuration.
    public init(
        label: String, mac: MACAddress, mtu: UInt16? = nil, queueSize: UInt16 = 256, packedRing: Bool = false, offloads: Bool = true
    ) {
        self.label = label
        self.mac = mac
        self.mtu = mtu
        self.queueSize = queueSize
        self.packedRing = packedRing
        self.offloads = offloads
    }
}

/// A network device (virtio 1.3, 5.1) on a tap or on a stream socket.
///
/// Personality (`NetworkCore`, `ControlQueue`) and data path (`QueuePair`) meet in a few calls only, so that the data path can live
/// elsewhere.
public final class NetworkDevice: VirtioDevice {
    private let configuration: NetworkConfiguration
    private let core: NetworkCore
    private let pairs: any PairHost
    /// One for each queue pair.
    let counterBlocks: [NetworkCounters]
    private let control: DeviceWorkers<ControlQueue>
    private let offered: Features
    private let maxPairs: Int
    /// The data path, where that is in another process.
    let dataPath: (any VirtioDevice)?
    /// The same, where its personality follows this one.
    private let follower: (any VirtioDevice)?

    /// Descriptors that must survive into the device's own process.
    public let keepDescriptors: [Int32]

    /// A device on a tap: one queue pair for each of its queues (1…). All are queues of the same interface; a device with more than one
    /// needs them multi-queue. The interface's address and MTU are its owner's business.
    public convenience init(_ configuration: NetworkConfiguration, taps: [TapQueue]) throws(DeviceError) {
        guard let first = taps.first, taps.count <= 0x8000 else {
            throw DeviceError("\(configuration.label) needs a tap with at least one queue.")
        }
        let offloads = configuration.offloads ? Self.offloads(of: first) : []
        let personality = NetworkPersonality(
            mac: configuration.mac, mtu: configuration.mtu, maxPairs: taps.count, packedRing: configuration.packedRing, offloads: offloads)
        let state = LinkState(own: configuration.mac)
        let counters = taps.map { _ in NetworkCounters() }
        let workloads = taps.indices.map { index in
            Slot(
                QueuePair(
                    index: index, queueSize: configuration.queueSize, link: TapLink(taps[index]), state: state, counters: counters[index]))
        }
        let pairs = DeviceWorkers(label: configuration.label, workloads: workloads, assignment: (0..<2 * taps.count).map { $0 / 2 })
        self.init(
            configuration, personality, state, pairs, counters, taps: taps, descriptors: taps.map { $0.descriptor.rawValue })
    }

    /// A device on a connected Unix stream socket in the framing of QEMU's `-netdev stream`, as passt speaks it: one queue pair, no offloads.
    /// When the peer closes the connection, the link goes down for good.
    public convenience init(_ configuration: NetworkConfiguration, stream: consuming OwnedDescriptor) throws(DeviceError) {
        let personality = NetworkPersonality(
            mac: configuration.mac, mtu: configuration.mtu, maxPairs: 1, packedRing: configuration.packedRing, offloads: [])
        let state = LinkState(own: configuration.mac)
        let raw = stream.rawValue
        let link = try Self.streamLink(stream, configuration.label)
        let counters = NetworkCounters()
        let pair = QueuePair(index: 0, queueSize: configuration.queueSize, link: link, state: state, counters: counters)
        let pairs = DeviceWorkers(label: configuration.label, workload: pair, queueCount: 2)
        self.init(configuration, personality, state, pairs, [counters], taps: [], descriptors: [raw])
    }

    /// A device whose frames go nowhere, with `queuePairs` pairs (1…32768), and with all offloads if the configuration has them: to its
    /// driver the same as one on a tap of the same configuration.
    public convenience init(_ configuration: NetworkConfiguration, nowhereWith queuePairs: Int) throws(DeviceError) {
        guard (1...0x8000).contains(queuePairs) else { throw DeviceError("\(configuration.label) needs at least one queue pair.") }
        let offloads = configuration.offloads ? Features.netGuestOffloads.union(.netHostOffloads) : []
        let personality = NetworkPersonality(
            mac: configuration.mac, mtu: configuration.mtu, maxPairs: queuePairs, packedRing: configuration.packedRing, offloads: offloads)
        let state = LinkState(own: configuration.mac)
        let counters = (0..<queuePairs).map { _ in NetworkCounters() }
        var workloads: [Slot<QueuePair<NullLink>>] = []
        var descriptors: [Int32] = []
        do throws(SystemError) {
            for index in 0..<queuePairs {
                let link = try NullLink()
                descriptors.append(link.rawDescriptor)
                workloads.append(
                    Slot(
                        QueuePair(
                            index: index, queueSize: configuration.queueSize, link: link, state: state, counters: counters[index])))
            }
        } catch {
            throw DeviceError("\(configuration.label) cannot be made (\(error)).")
        }
        let pairs = DeviceWorkers(label: configuration.label, workloads: workloads, assignment: (0..<2 * queuePairs).map { $0 / 2 })
        self.init(configuration, personality, state, pairs, counters, taps: [], descriptors: descriptors)
    }

    /// A device whose data path is another one, of the same kind with `queuePairs` pairs (1…32768), in another process: the control queue and
    /// what is said through it are here, and frames there. `dataPath` takes control requests as a device of this type does.
    public convenience init(_ configuration: NetworkConfiguration, dataPath: any VirtioDevice, queuePairs: Int) throws(DeviceError) {
        guard (1...0x8000).contains(queuePairs) else { throw DeviceError("\(configuration.label) needs at least one queue pair.") }
        let personality = NetworkPersonality(
            mac: configuration.mac, mtu: configuration.mtu, maxPairs: queuePairs, packedRing: configuration.packedRing,
            offloads: dataPath.features.intersection(Features.netGuestOffloads.union(.netHostOffloads)))
        self.init(
            configuration, personality, LinkState(own: configuration.mac), RemotePairs(dataPath), [], taps: [],
            descriptors: dataPath.keepDescriptors, dataPath: dataPath, follower: dataPath)
    }

    /// A device whose frames are moved by somebody who sees `queuePairs` pairs (1…32768) and nothing else of it: control queue, address, link
    /// state and the choice of pairs are here. The data path decides what else is offered, and `enable` tells it which of its queues are in use.
    ///
    /// It cannot be told what the driver wants to receive, so everything arrives; the specification calls these commands best-effort
    /// (5.1.6.5.1). Offloads of received frames cannot be switched, because it knows no other than those negotiated.
    public convenience init(
        _ configuration: NetworkConfiguration, beside dataPath: any VirtioDevice, queuePairs: Int, enable: @escaping QueueSwitch
    ) throws(DeviceError) {
        guard (1...0x8000).contains(queuePairs) else { throw DeviceError("\(configuration.label) needs at least one queue pair.") }
        let personality = NetworkPersonality(
            mac: configuration.mac, mtu: configuration.mtu, maxPairs: queuePairs, beside: dataPath.features)
        self.init(
            configuration, personality, LinkState(own: configuration.mac), RemotePairs(dataPath, enable: enable), [], taps: [],
            descriptors: dataPath.keepDescriptors, dataPath: dataPath)
    }

    private init(
        _ configuration: NetworkConfiguration, _ personality: NetworkPersonality, _ state: LinkState, _ pairs: any PairHost,
        _ counters: [NetworkCounters], taps: [TapQueue], descriptors: [Int32], dataPath: (any VirtioDevice)? = nil,
        follower: (any VirtioDevice)? = nil
    ) {
        self.configuration = configuration
        self.pairs = pairs
        self.dataPath = dataPath
        self.follower = follower
        counterBlocks = counters
        core = NetworkCore(personality, state: state, pairs: pairs, taps: taps, follower: follower)
        control = DeviceWorkers(
            label: "\(configuration.label)/ctrl", workload: ControlQueue(core: core), queueCount: personality.queueCount)
        offered = personality.offered
        maxPairs = personality.maxPairs
        keepDescriptors = descriptors
    }

    private static func streamLink(_ stream: consuming OwnedDescriptor, _ label: String) throws(DeviceError) -> StreamLink {
        do throws(SystemError) {
            return try StreamLink(stream)
        } catch {
            throw DeviceError("The socket of \(label) cannot be used (\(error)).")
        }
    }

    /// What the host's kernel can do; old ones refuse UDP fragmentation.
    private static func offloads(of tap: TapQueue) -> Features {
        var guest = Features.netGuestOffloads
        var host = Features.netHostOffloads
        if (try? tap.setOffloads(TapOffloads(guest))) == nil {
            guest.remove(.netGuestUFO)
            host.remove(.netHostUFO)
            if (try? tap.setOffloads(TapOffloads(guest))) == nil { return [] }
        }
        try? tap.setOffloads([])
        return guest.union(host)
    }

    // MARK: What the device is

    /// Network device.
    public var deviceType: DeviceType { .network }
    /// The label.
    public var debugLabel: String { configuration.label }
    /// Receive and transmit queues in turn, and the control queue.
    public var queueMaxSizes: [UInt16] {
        Array(repeating: configuration.queueSize, count: 2 * maxPairs) + [
            maxPairs > 1 ? configuration.queueSize : NetworkCore.controlQueueSize
        ]
    }
    /// All but the control queue.
    public var dataQueueCount: Int { 2 * maxPairs }
    /// What is said through the control queue, and what the link is called; that there are several pairs is the data path's as well.
    public var frontEndFeatures: Features { Features.netControl.subtracting(.netMultiQueue).union([.netMAC, .netStatus, .netMTU]) }
    /// What the link can do.
    public var features: Features { offered }

    /// Takes note of the negotiated features.
    public func acknowledge(_ features: Features) {
        core.personality.withLock { personality in
            // A restored device is told again what it knows; what the driver has switched off since stays off.
            if personality.negotiated != features.intersection(personality.offered) { personality.acknowledge(features) }
        }
        dataPath?.acknowledge(features)
    }

    /// Copies configuration space.
    public func readConfiguration(at offset: Int, into bytes: inout MutableSpan<UInt8>) {
        noteLink()
        let space = core.personality.withLock { personality in
            personality.linkUp = core.state.isUp.load(ordering: .acquiring)
            return personality.configurationSpace
        }
        for index in bytes.indices {
            let (position, overflow) = offset.addingReportingOverflow(index)
            bytes[index] = !overflow && space.indices.contains(position) ? space[position] : 0
        }
    }

    /// The other process knows whether the link is up; its configuration space is at hand.
    private func noteLink() {
        guard let follower else { return }
        var status: InlineArray<1, UInt8> = [0]
        var span = status.mutableSpan
        follower.readConfiguration(at: 6, into: &span)
        core.state.isUp.store(status[0] & 1 != 0, ordering: .releasing)
    }

    // MARK: What the device does

    /// Starts the control queue and the queue pairs.
    public func activate(_ activation: consuming Activation) throws(DeviceError) { try begin(activation, hasSlept: false) }

    private func begin(_ activation: consuming Activation, hasSlept: Bool) throws(DeviceError) {
        acknowledge(activation.features)
        var failure: DeviceError?
        do throws(DeviceError) {
            try core.applyAll()
        } catch {
            // A tap that was removed must not keep the guest from booting: to its driver the cable is out.
            if core.state.isUp.exchange(false, ordering: .acquiringAndReleasing) { failure = error }
        }
        let index = core.personality.withLock { $0.controlQueue }
        var controlQueues = QueueSet(count: 2 * maxPairs + 1)
        if let queue = activation.queues.take(index) { controlQueues.put(queue) }
        let controlActivation = Activation(
            memory: activation.memory, interrupt: activation.interrupt, features: activation.features, queues: controlQueues)
        core.begin(queues: Set((0..<2 * maxPairs).filter { activation.queues.contains($0) }))
        // Where the pairs cannot be activated, `sleep` finds the control queue as well; no command is carried out before they are.
        try control.hold(controlActivation)
        if hasSlept { try pairs.goOn(activation) } else { try pairs.activate(activation) }
        if let failure { pairs.context?.warn("the link is down: \(failure)") }
        try control.resume()
    }

    /// Stops everything and forgets what the driver set.
    public func reset() throws(DeviceError) {
        control.reset()
        try pairs.reset()
        core.begin(queues: [])
        core.personality.withLock { $0.reset() }
        // A link that cannot be configured any more is noticed at the next activation. The other process has reset its own.
        if follower == nil { try? core.applyAll() }
    }

    /// Stops one queue.
    public func stopQueue(_ index: Int) throws(DeviceError) -> ActiveQueue? {
        if index == core.personality.withLock({ $0.controlQueue }) { return try control.stopQueue(index) }
        let queue = try pairs.stopQueue(index)
        core.noteStopped(index)
        return queue
    }

    /// Starts one queue.
    public func startQueue(_ queue: consuming ActiveQueue) throws(DeviceError) {
        if queue.index == core.personality.withLock({ $0.controlQueue }) {
            try control.startQueue(queue)
        } else {
            core.noteStarted(queue.index)
            try pairs.startQueue(queue)
        }
    }

    /// Stops everything and gives the queues back.
    public func sleep() throws(DeviceError) -> QueueSet? {
        // The control queue first: it may be stopping and starting pairs.
        control.pause()
        let dataQueues: QueueSet?
        do throws(DeviceError) { dataQueues = try pairs.sleep() } catch {
            // Who does not sleep is awake, and its driver waits for answers.
            goOn()
            throw error
        }
        var controlQueues = control.sleep()
        guard var data = dataQueues else { return nil }
        core.begin(queues: [])
        var queues = QueueSet(count: 2 * maxPairs + 1)
        for index in 0..<data.count {
            if let queue = data.take(index) { queues.put(queue) }
        }
        let index = core.personality.withLock { $0.controlQueue }
        if let queue = controlQueues?.take(index) { queues.put(queue) }
        return queues
    }

    /// Has the control queue go on after a sleep that failed.
    private func goOn() {
        do throws(DeviceError) { try control.resume() } catch {
            let index = core.personality.withLock { $0.controlQueue }
            control.context?.fail(queue: index, error.description)
        }
    }

    /// Goes on.
    public func wake(_ activation: consuming Activation?) throws(DeviceError) {
        if let activation { try begin(activation, hasSlept: true) }
    }

    /// What the driver set.
    public func snapshot() throws(DeviceError) -> JSONValue { core.personality.withLock { $0.snapshot() } }

    /// Takes what `NetworkPersonality.followed` gives: the personality is with a front-end.
    public func controlNotify(_ request: JSONValue) throws(DeviceError) {
        do throws(StateError) {
            try core.personality.withLock { (personality) throws(StateError) in try personality.follow(SavedValue(request)) }
        } catch {
            throw DeviceError("\(configuration.label) cannot be set to this: \(error)")
        }
        try core.applyAll()
    }

    /// Takes over what the driver set.
    public func restore(_ state: SavedValue) throws(StateError) {
        try core.personality.withLock { (personality) throws(StateError) in try personality.restore(state) }
    }
}
