import Host
package import Virtio

/// What a front-end learns when it meets its back-end.
package struct Greeting: Sendable {
    /// What the device offers, less what the profile withholds.
    package let features: Features
    /// Whether the protocol has features of its own.
    package let hasProtocolFeatures: Bool
    /// Those that both ends have.
    package let protocolFeatures: ProtocolFeatures
    /// Whether the back-end can note what it writes to RAM.
    let canLog: Bool
    /// The number of queues; nil when the back-end does not tell.
    package let queueCount: UInt64?

    /// Asks the back-end. `wanted` is what of the protocol this end uses.
    package init(
        _ connection: BackEndConnection, _ profile: FrontendProfile, wanted: ProtocolFeatures = VhostUserFrontend.wanted
    ) throws(VhostUserError) {
        let offered = try connection.number(.getFeatures)
        hasProtocolFeatures = offered & ProtocolFeatures.announcement != 0
        let all = Features(rawValue: offered & ~(ProtocolFeatures.announcement | ProtocolFeatures.logging))
        try profile.deviceType.checkKind(all)
        // Of rings and transports only what is served here: a back-end that knows IOMMUs would wait for one.
        features = all.subtracting(Features.notOfDevices.subtracting(.ours.union(.ringPacked))).subtracting(profile.withheld)
        guard features.contains(.version1) else {
            throw VhostUserError(.device, "The back-end does not offer VIRTIO_F_VERSION_1, and legacy devices are not served.")
        }
        var common: ProtocolFeatures = []
        if hasProtocolFeatures {
            common = ProtocolFeatures(rawValue: try connection.number(.getProtocolFeatures)).intersection(wanted)
            try connection.send(.setProtocolFeatures(common.rawValue))
            if common.contains(.replyAck) { connection.acknowledgeAll() }
        }
        protocolFeatures = common
        canLog = common.contains(.logMemory) && offered & ProtocolFeatures.logging != 0
        guard profile.configurationSize == 0 || common.contains(.configuration) || profile.configuration.count >= profile.configurationSize
        else {
            throw VhostUserError(.device, "The back-end has no configuration space (VHOST_USER_PROTOCOL_F_CONFIG).")
        }
        let said = common.contains(.multiQueue) ? try connection.number(.getQueueCount) : nil
        queueCount = said
        let count = said ?? UInt64(profile.deviceType.leastQueueCount)
        let needed = UInt64(clamping: profile.queueCount)
        let tooFew = VhostUserError(.device, "The back-end has \(count) queues; expected at least \(needed).")
        // The specification counts queues; network back-ends that were made for QEMU count pairs, as QEMU does.
        let mayCountPairs = profile.deviceType == .network && said != nil && count >= (needed + 1) / 2
        guard count >= needed || mayCountPairs else { throw tooFew }
        try connection.send(.setOwner)
        guard count < needed else { return }
        do throws(VhostUserError) {
            try Self.expectQueue(profile.queueCount - 1, connection, acknowledged: common.contains(.replyAck))
        } catch {
            throw error.kind == .violation ? error : tooFew
        }
    }

    /// Says something about a queue that changes nothing: a back-end without that queue refuses it, or leaves.
    private static func expectQueue(_ index: Int, _ connection: BackEndConnection, acknowledged: Bool) throws(VhostUserError) {
        try connection.send(.setRingCall(RingDescriptor(index: UInt32(clamping: index), isPresent: false)))
        if !acknowledged { _ = try connection.number(.getFeatures) }
    }

    /// Makes the channel on which the back-end asks, if it wants one.
    package func openChannel(
        _ connection: BackEndConnection, label: String, changed: @escaping @Sendable () -> Void,
        ended: @escaping @Sendable () -> Void
    ) throws(VhostUserError) -> BackEndRequests? {
        guard protocolFeatures.contains(.backendRequests) else { return nil }
        let pair = try hosted("make a socket") { () throws(SystemError) in try SocketPair() }
        let requests = try hosted("listen to the back-end") { () throws(SystemError) in
            try BackEndRequests(try pair.first.duplicate(), label: label, changed: changed, ended: ended)
        }
        try connection.send(.setBackendRequestSocket, passing: [pair.second.rawValue])
        return requests
    }
}
