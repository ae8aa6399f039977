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
            var queues: [JSONValue] = []
            for index in state.queues.indices { queues.append(queueState(index, &state)) }
            let transport: [String: JSONValue] = [
                "kind": .string(kind.rawValue), kind.rawValue: own,
                "status": .number(signals.status.rawValue),
                "driverFeatures": .hex(state.driverFeatures.rawValue),
                "acceptedUnknownFeatures": .bool(state.acceptedUnknownFeatures),
                "deviceFeatureSelect": .number(state.deviceFeatureSelect),
                "driverFeatureSelect": .number(state.driverFeatureSelect),
                "queueSelect": .number(state.queueSelect),
                "configurationGeneration": .number(state.configuration.generation),
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
    func restore(_ document: JSONValue, kind: TransportKind) throws -> SavedValue {
        let root = SavedValue(value: document, path: "")
        return try state.withLock { state in
            let life = try root.member("lifecycle")
            let phase: Lifecycle.Phase = try life.member("phase").choice()
            let needsReset = try life.member("needsReset").bool()
            let next = try state.lifecycle.after(.restore(phase, needsReset: needsReset))

            let saved = try root.member("transport")
            let savedKind: TransportKind = try saved.member("kind").choice()
            guard savedKind == kind else { throw try saved.member("kind").wrong("\"\(kind.rawValue)\", found \"\(savedKind.rawValue)\"") }
            let status = DeviceStatus(rawValue: try saved.member("status").integer())
            try check(status, at: try saved.member("status"), against: next)
            let features = Features(rawValue: try saved.member("driverFeatures").hex())
            if status.contains(.featuresOK), !features.isSubset(of: offered) || !features.contains(.version1) {
                throw try saved.member("driverFeatures").wrong(
                    "features that this device offers (0x\(String(offered.rawValue, radix: 16))), VIRTIO_F_VERSION_1 among them")
            }
            state.driverFeatures = features
            state.acceptedUnknownFeatures = try saved.member("acceptedUnknownFeatures").bool()
            state.deviceFeatureSelect = try saved.member("deviceFeatureSelect").integer()
            state.driverFeatureSelect = try saved.member("driverFeatureSelect").integer()
            state.queueSelect = try saved.member("queueSelect").integer()
            state.configuration = ConfigurationShadow(generation: try saved.member("configurationGeneration").integer())

            var parked = QueueSet(count: queueCount)
            for (index, queue) in try root.member("queues").elements(count: queueCount).enumerated() {
                try restoreQueue(index, queue, isActive: phase == .active, &state, into: &parked)
            }
            if status.contains(.featuresOK) { device.acknowledge(features) }
            try device.restore(try root.member("device").value)
            state.parked = phase == .active ? consume parked : nil
            state.lifecycle = next
            signals.restore(status, isConfigurationChangePending: try saved.member("configurationChangePending").bool())
            return try saved.member(kind.rawValue)
        }
    }

    /// A status field that no device in that state can have.
    private func check(_ status: DeviceStatus, at place: SavedValue, against lifecycle: Lifecycle) throws(RestoreError) {
        guard status.subtracting(DeviceStatus.driverBits.union(.needsReset)).isEmpty else { throw place.wrong("known status bits") }
        guard status.contains(.needsReset) == lifecycle.needsReset else {
            throw place.wrong("DEVICE_NEEDS_RESET to agree with lifecycle.needsReset")
        }
        // DRIVER_OK without an active device is what a failed activation leaves.
        let isReady = status.contains(.driverOK)
        guard isReady == (lifecycle.phase == .active) || (isReady && lifecycle.needsReset) else {
            throw place.wrong("DRIVER_OK to agree with lifecycle.phase")
        }
        guard !isReady || status.contains([.acknowledge, .driver, .featuresOK]) else { throw place.wrong("FEATURES_OK before DRIVER_OK") }
    }

    private func queueState(_ index: Int, _ state: inout TransportState) -> JSONValue {
        let configuration = state.queues[index]
        var members: [String: JSONValue] = [
            "size": .number(configuration.size), "ready": .bool(configuration.ready),
            "descriptorArea": .hex(configuration.descriptorArea), "driverArea": .hex(configuration.driverArea),
            "deviceArea": .hex(configuration.deviceArea),
        ]
        if let queue = state.parked?.take(index) {
            let position = queue.ring.position
            state.parked?.put(queue)
            members["position"] = [
                "available": .number(position.available), "availableWrap": .bool(position.availableWrap),
                "used": .number(position.used), "usedWrap": .bool(position.usedWrap),
            ]
        }
        return .object(members)
    }

    private func restoreQueue(
        _ index: Int, _ saved: SavedValue, isActive: Bool, _ state: inout TransportState, into parked: inout QueueSet
    ) throws(RestoreError) {
        var configuration = QueueConfiguration(maxSize: state.queues[index].maxSize)
        configuration.size = try saved.member("size").integer(upTo: configuration.maxSize)
        guard configuration.size > 0 else { throw try saved.member("size").wrong("at least 1") }
        configuration.ready = try saved.member("ready").bool()
        configuration.descriptorArea = try saved.member("descriptorArea").hex()
        configuration.driverArea = try saved.member("driverArea").hex()
        configuration.deviceArea = try saved.member("deviceArea").hex()
        state.queues[index] = configuration
        guard let place = try saved.optionalMember("position") else { return }
        guard isActive, configuration.ready else { throw place.wrong("no position, because the queue is not in use") }
        let position = QueuePosition(
            available: try place.member("available").integer(), availableWrap: try place.member("availableWrap").bool(),
            used: try place.member("used").integer(), usedWrap: try place.member("usedWrap").bool())
        do throws(QueueFault) { parked.put(try makeQueue(index, state, at: position)) } catch {
            throw saved.wrong("a queue that can be set up; this one cannot: \(error)")
        }
    }
}
