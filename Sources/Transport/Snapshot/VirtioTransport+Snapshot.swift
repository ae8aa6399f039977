import Schema
import Synchronization
import Virtio
import Virtqueue

// The saved state of a hosted device: { lifecycle, transport, queues[], device }. `transport` has a member named after its kind for what
// only PCI or only MMIO has.

extension VirtioTransport {
    func snapshot(kind: TransportKind, _ own: JSONValue) throws -> JSONValue {
        try state.withLock { state in
            noteFailure(&state)
            _ = try state.lifecycle.after(.snapshot)
            // Saved without the places where they stand, its queues would begin anew after a restore, in the middle of what the driver does.
            guard state.lifecycle.phase != .active || state.parked != nil else {
                throw DeviceError("\(device.debugLabel) cannot be saved: it has lost its queues.")
            }
            var queues: [JSONValue] = []
            for index in state.queues.indices { queues.append(queueState(index, &state)) }
            let transport: [String: JSONValue] = [
                "kind": .string(kind.rawValue), kind.rawValue: own,
                "status": .integer(clamping: signals.status.rawValue),
                "driverFeatures": .hex(state.driverFeatures.rawValue),
                "acceptedUnknownFeatures": .bool(state.acceptedUnknownFeatures),
                "deviceFeatureSelect": .integer(clamping: state.deviceFeatureSelect),
                "driverFeatureSelect": .integer(clamping: state.driverFeatureSelect),
                "queueSelect": .integer(clamping: state.queueSelect),
                "configurationGeneration": .integer(clamping: state.configuration.generation),
                "configurationChangePending": .bool(signals.isConfigurationChangePending),
            ]
            return [
                "lifecycle": ["phase": .string(state.lifecycle.phase.rawValue), "needsReset": .bool(state.lifecycle.needsReset)],
                "transport": .object(transport),
                "queues": .array(queues),
                "device": try device.snapshot(),
            ]
        }
    }

    /// Takes everything over but what only one kind of transport has, which it returns. The lifecycle changes only when all of it went
    /// well.
    func restore(_ document: SavedValue, kind: TransportKind) throws -> SavedValue {
        let parts = try document.read { (fields) throws(StateError) in
            (lifecycle: fields["lifecycle"], transport: fields["transport"], queues: fields["queues"], device: fields["device"])
        }
        let (phase, needsReset) = try parts.lifecycle.read { (fields) throws(StateError) in
            (try fields.choice("phase", of: Lifecycle.Phase.self), try fields.bool("needsReset"))
        }
        return try state.withLock { state in
            let next = try state.lifecycle.after(.restore(phase, needsReset: needsReset))
            let saved = try parts.transport.read { (fields) throws(StateError) in
                try restoreRegisters(&fields, kind: kind, lifecycle: next, &state)
            }
            var parked = QueueSet(count: queueCount)
            for (index, queue) in try parts.queues.elements(count: queueCount...queueCount).enumerated() {
                try restoreQueue(index, queue, isActive: phase == .active, &state, into: &parked)
            }
            if saved.status.contains(.featuresOK) { device.acknowledge(state.driverFeatures) }
            try device.restore(parts.device)
            state.parked = phase == .active ? consume parked : nil
            state.lifecycle = next
            signals.restore(saved.status, isConfigurationChangePending: saved.isConfigurationChangePending)
            return saved.own
        }
    }

    /// What `restoreRegisters` leaves to its caller.
    private struct SavedRegisters {
        let status: DeviceStatus
        let isConfigurationChangePending: Bool
        /// What only one kind of transport has.
        let own: SavedValue
    }

    private func restoreRegisters(
        _ fields: inout StateFields, kind: TransportKind, lifecycle: Lifecycle, _ state: inout TransportState
    ) throws(StateError) -> SavedRegisters {
        let savedKind: TransportKind = try fields.choice("kind")
        guard savedKind == kind else {
            throw fields.error("kind", expected: "\"\(kind.rawValue)\", found \"\(savedKind.rawValue)\"")
        }
        let status = DeviceStatus(rawValue: try fields.integer("status"))
        try check(status, at: fields["status"], against: lifecycle)
        let features = Features(rawValue: try fields.hex("driverFeatures"))
        if status.contains(.featuresOK), !features.isSubset(of: offered) || !features.contains(.version1) {
            throw fields.error(
                "driverFeatures",
                expected: "features that this device offers (0x\(String(offered.rawValue, radix: 16))), VIRTIO_F_VERSION_1 among them")
        }
        state.driverFeatures = features
        state.acceptedUnknownFeatures = try fields.bool("acceptedUnknownFeatures")
        state.deviceFeatureSelect = try fields.integer("deviceFeatureSelect")
        state.driverFeatureSelect = try fields.integer("driverFeatureSelect")
        state.queueSelect = try fields.integer("queueSelect")
        state.configuration = ConfigurationShadow(after: try fields.integer("configurationGeneration"))
        return SavedRegisters(
            status: status, isConfigurationChangePending: try fields.bool("configurationChangePending"), own: fields[kind.rawValue])
    }

    /// A status field that no device in that state can have.
    private func check(_ status: DeviceStatus, at place: SavedValue, against lifecycle: Lifecycle) throws(StateError) {
        guard status.subtracting(DeviceStatus.driverBits.union(.needsReset)).isEmpty else {
            throw place.error(expected: "known status bits")
        }
        guard status.contains(.needsReset) == lifecycle.needsReset else {
            throw place.error(expected: "DEVICE_NEEDS_RESET to agree with lifecycle.needsReset")
        }
        // DRIVER_OK without an active device is what a failed activation leaves.
        let isReady = status.contains(.driverOK)
        guard isReady == (lifecycle.phase == .active) || (isReady && lifecycle.needsReset) else {
            throw place.error(expected: "DRIVER_OK to agree with lifecycle.phase")
        }
        guard !isReady || status.contains([.acknowledge, .driver, .featuresOK]) else {
            throw place.error(expected: "FEATURES_OK before DRIVER_OK")
        }
    }

    private func queueState(_ index: Int, _ state: inout TransportState) -> JSONValue {
        let configuration = state.queues[index]
        var members: [String: JSONValue] = [
            "size": .integer(clamping: configuration.size), "ready": .bool(configuration.ready),
            "descriptorArea": .hex(configuration.descriptorArea), "driverArea": .hex(configuration.driverArea),
            "deviceArea": .hex(configuration.deviceArea),
        ]
        // null: the device does not have the queue.
        members["position"] = .null
        if let queue = state.parked?.take(index) {
            let position = queue.ring.position
            state.parked?.put(queue)
            members["position"] = [
                "available": .integer(clamping: position.available), "availableWrap": .bool(position.availableWrap),
                "used": .integer(clamping: position.used), "usedWrap": .bool(position.usedWrap),
            ]
        }
        return .object(members)
    }

    private func restoreQueue(
        _ index: Int, _ saved: SavedValue, isActive: Bool, _ state: inout TransportState, into parked: inout QueueSet
    ) throws(StateError) {
        var configuration = QueueConfiguration(maxSize: state.queues[index].maxSize)
        let position = try saved.read { (fields) throws(StateError) in
            configuration.size = try fields.integer("size", in: 1...configuration.maxSize)
            configuration.ready = try fields.bool("ready")
            configuration.descriptorArea = try fields.hex("descriptorArea")
            configuration.driverArea = try fields.hex("driverArea")
            configuration.deviceArea = try fields.hex("deviceArea")
            let position = try fields.optional("position") { (position) throws(StateError) in
                try position.read { (fields) throws(StateError) in
                    QueuePosition(
                        available: try fields.integer("available"), availableWrap: try fields.bool("availableWrap"),
                        used: try fields.integer("used"), usedWrap: try fields.bool("usedWrap"))
                }
            }
            guard position == nil || isActive && configuration.ready else {
                throw fields.error("position", expected: "null, because the queue is not in use")
            }
            return position
        }
        state.queues[index] = configuration
        guard let position else { return }
        do throws(QueueFault) { parked.put(try makeQueue(index, state, at: position)) } catch {
            throw saved.error(expected: "a queue that can be set up; this one cannot: \(error)")
        }
    }
}
