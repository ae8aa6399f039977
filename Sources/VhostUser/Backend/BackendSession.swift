import GuestMemory
import Host
import Virtio
import Virtqueue

/// One front-end's view of a device: what it has negotiated and set up, and what of it the device has.
struct BackendSession: ~Copyable {
    /// What of the protocol is served.
    private let offer: ProtocolFeatures
    let device: any VirtioDevice
    let signals: BackendSignals
    let report: @Sendable (String) -> Void
    private let stop: EventFD
    var features: Features = []
    var protocolFeatures: ProtocolFeatures?
    var status: UInt64 = 0
    var rings: [BackendRing]
    var table = BackendMemory()
    /// The table as RAM; nil while there is none.
    var memory: GuestMemory?
    /// The device is active.
    var isActive = false
    /// The device has been told of `features`.
    private var isAcknowledged = false
    /// Where requests in flight are noted; nil while nobody wants to know.
    var inFlight: InFlightMemory?
    /// Where the front-end wants to see what the device writes, and whether it does now.
    var logBitmap: WriteBitmap?
    var isLogging = false
    /// What `memory` was made with of that.
    var usedLog: ForeignLog?
    /// The state that is to be loaded.
    var incomingState: OwnedDescriptor?
    /// Why the last state was refused.
    var refusal: StateRefusal?
    /// Whether the last transfer of a state went well.
    var hasTransferred = false
    /// What goes out with the next reply.
    var outgoing: OwnedDescriptor?

    init(_ device: any VirtioDevice, stop: EventFD, takesControl: Bool, report: @escaping @Sendable (String) -> Void) {
        offer =
            takesControl
            ? ProtocolFeatures.servedToAll.union(.control) : .servedToAll
        self.device = device
        self.stop = stop
        self.report = report
        rings = device.queueMaxSizes.prefix(device.dataQueueCount).map { BackendRing(maxSize: $0) }
        signals = BackendSignals(queueCount: rings.count, report: report)
    }

    /// What is offered: the device's features, that the protocol has features of its own, and a log.
    private var offered: UInt64 {
        device.features.subtracting(device.frontEndFeatures).rawValue | ProtocolFeatures.announcement | ProtocolFeatures.logging
    }

    /// Does what a message asks, and answers it.
    ///
    /// - Throws: what ends the connection. What the host or the device could not do does not, if the front-end wants to be told.
    mutating func answer(_ message: inout ReceivedMessage, on connection: borrowing MessageConnection) throws(VhostUserError) {
        let header = message.header
        let wantsAck = header.needsReply && protocolFeatures?.contains(.replyAck) == true
        var reply: BackEndReply?
        do throws(VhostUserError) {
            let request = try FrontEndMessage(header, message.payload.span, descriptors: message.descriptors.count)
            reply = try perform(request, &message.descriptors)
            if reply == nil, wantsAck { reply = .number(0) }
        } catch {
            guard error.kind == .host || error.kind == .device, wantsAck else { throw error }
            report(error.description)
            reply = .number(1)
        }
        let passed = outgoing.take()
        guard let payload = reply?.payload else { return }
        let answer = MessageHeader(request: header.request, isReply: true, size: payload.count)
        switch passed {
        case .some(let descriptor): try connection.send(answer, payload, passing: [descriptor.rawValue])
        case .none: try connection.send(answer, payload)
        }
    }

    private mutating func perform(
        _ message: FrontEndMessage, _ descriptors: inout PassedDescriptors
    ) throws(VhostUserError) -> BackEndReply? {
        switch message {
        case .getFeatures: return .number(offered)
        case .setFeatures(let wanted): try setFeatures(wanted)
        case .getProtocolFeatures: return .number(offer.rawValue)
        case .setProtocolFeatures(let wanted): try setProtocolFeatures(ProtocolFeatures(rawValue: wanted))
        case .setOwner: break
        case .resetOwner, .resetDevice: try reset()
        case .getQueueCount: return .number(UInt64(rings.count))
        case .getMaxMemorySlots: return .number(UInt64(FrontEndMessage.mostRegions))
        case .setMemoryTable(let regions): try setMemory(regions, &descriptors)
        case .setLogBase(let log):
            try setLog(log, &descriptors)
            return .number(0)
        // Nobody is woken for every page: who wants to know looks at the log.
        case .setLogEvent: _ = descriptors.takeFirst()
        case .addMemoryRegion(let region): try addMemory(region, &descriptors)
        case .removeMemoryRegion(let region): try changeMemory { (table) throws(VhostUserError) in try table.remove(region) }
        case .setRingSize(let ring): try setSize(ring)
        case .setRingAddresses(let addresses): try setAddresses(addresses)
        case .setRingBase(let ring):
            let index = try stopped(ring.index, "SET_VRING_BASE")
            rings[index].base = ring.value
        case .getRingBase(let ring): return .ring(try getBase(ring))
        case .setRingKick(let ring): try setKick(ring, event(&descriptors))
        case .setRingCall(let ring):
            let index = try index(ring.index, "SET_VRING_CALL")
            let call = try event(&descriptors)
            signals.setCall(index, call)
            // What a running ring has used until now may have been announced to nobody.
            if rings[index].isRunning { call?.signal() }
        case .setRingError(let ring): signals.setError(try index(ring.index, "SET_VRING_ERR"), try event(&descriptors))
        case .setRingEnable(let ring): try setEnable(ring)
        case .setBackendRequestSocket: try setChannel(&descriptors)
        case .getConfiguration(let access):
            if !features.isEmpty { acknowledge() }
            return .configuration(read(access))
        case .setConfiguration(let access):
            acknowledge()
            device.writeConfiguration(at: Int(access.offset), from: access.bytes.span)
        case .getInFlight(let wanted): return .inFlight(try makeInFlight(wanted))
        case .setInFlight(let region): try setInFlight(region, &descriptors)
        case .setStatus(let wanted): try setStatus(wanted)
        case .getStatus: return .number(status | (signals.needsReset ? UInt64(DeviceStatus.needsReset.rawValue) : 0))
        case .setDeviceStateDescriptor(let transfer): return .number(try beginTransfer(transfer, &descriptors))
        case .checkDeviceState: return .number(finishTransfer() ? 0 : 1)
        case .control(let text): try control(text)
        case .getReason: return .reason(refusal ?? StateRefusal(path: "", expectation: ""))
        }
        return nil
    }

    // MARK: Negotiation

    private mutating func setFeatures(_ wanted: UInt64) throws(VhostUserError) {
        guard wanted & ~offered == 0 else {
            throw .violation("SET_FEATURES has 0x\(String(wanted & ~offered, radix: 16)), which was not offered.")
        }
        let new = Features(rawValue: wanted & ~(ProtocolFeatures.announcement | ProtocolFeatures.logging))
        if new != features, rings.contains(where: \.isRunning) {
            throw .violation("SET_FEATURES changes what was negotiated while rings run.")
        }
        if new != features { isAcknowledged = false }
        features = new
        // No driver negotiates this one, and it may change at any time.
        isLogging = wanted & ProtocolFeatures.logging != 0
        try followLog()
        // Without features of the protocol there is no SET_VRING_ENABLE, and rings are born enabled.
        if wanted & ProtocolFeatures.announcement == 0 {
            for index in rings.indices { rings[index].isEnabled = true }
            try startAll()
        }
    }

    private mutating func setProtocolFeatures(_ wanted: ProtocolFeatures) throws(VhostUserError) {
        guard wanted.isSubset(of: offer) else {
            throw .violation(
                "SET_PROTOCOL_FEATURES has 0x\(String(wanted.subtracting(offer).rawValue, radix: 16)), which was not offered.")
        }
        protocolFeatures = wanted
    }

    /// Tells the device what was negotiated, once: what the driver or a saved state has set since stays.
    mutating func acknowledge() {
        guard !isAcknowledged else { return }
        device.acknowledge(features)
        isAcknowledged = true
    }

    /// The device has forgotten its driver.
    mutating func forgetAcknowledgement() { isAcknowledged = false }

    private mutating func setStatus(_ wanted: UInt64) throws(VhostUserError) {
        guard wanted <= 0xff else { throw .violation("SET_STATUS has \(wanted), which is no device status.") }
        if wanted == 0 { try reset() }
        status = wanted
    }

    // MARK: Configuration space

    private func read(_ access: ConfigurationAccess) -> ConfigurationAccess {
        var bytes = [UInt8](repeating: 0, count: access.bytes.count)
        var span = bytes.mutableSpan
        device.readConfiguration(at: Int(access.offset), into: &span)
        return ConfigurationAccess(offset: access.offset, flags: access.flags, bytes: bytes)
    }

    private func setChannel(_ descriptors: inout PassedDescriptors) throws(VhostUserError) {
        guard let socket = descriptors.takeFirst() else { throw .violation("SET_BACKEND_REQ_FD came without a socket.") }
        let slot = Slot(socket)
        let stop = stop
        let channel = try hosted("use the back-end channel") { () throws(SystemError) in
            guard let socket = slot.take() else { throw SystemError("channel", .invalidArgument) }
            return try MessageConnection(socket, stop: stop)
        }
        signals.setChannel(channel)
    }

    // MARK: Arguments

    /// A queue's index, if there is such a queue.
    func index(_ number: UInt32, _ request: String) throws(VhostUserError) -> Int {
        guard let index = Int(exactly: number), rings.indices.contains(index) else {
            throw .violation("\(request) names queue \(number); the device has \(rings.count).")
        }
        return index
    }

    /// The index of a queue that is not running.
    func stopped(_ number: UInt32, _ request: String) throws(VhostUserError) -> Int {
        let index = try index(number, request)
        guard !rings[index].isRunning else { throw .violation("\(request) for queue \(index), which is running.") }
        return index
    }

    /// The eventfd that came with a message; nil when none did.
    private func event(_ descriptors: inout PassedDescriptors) throws(VhostUserError) -> EventFD? {
        guard let descriptor = descriptors.takeFirst() else { return nil }
        let slot = Slot(descriptor)
        return try hosted("use an event") { () throws(SystemError) in
            guard let descriptor = slot.take() else { return nil }
            // Both sides share the flag; who polls an eventfd never wants to wait in a read of it.
            try descriptor.setNonBlocking()
            return EventFD(owning: descriptor)
        }
    }
}
