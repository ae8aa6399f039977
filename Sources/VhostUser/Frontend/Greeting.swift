import Host
import Virtio

/// What a front-end learns when it meets its back-end.
struct Greeting {
    let features: Features
    let hasProtocolFeatures: Bool
    let protocolFeatures: ProtocolFeatures
    /// Whether the back-end can note what it writes to RAM.
    let canLog: Bool

    init(_ connection: BackEndConnection, _ profile: FrontendProfile) throws(VhostUserError) {
        let offered = try connection.number(.getFeatures)
        hasProtocolFeatures = offered & ProtocolFeatures.announcement != 0
        features =
            Features(rawValue: offered & ~(ProtocolFeatures.announcement | ProtocolFeatures.logging)).subtracting(profile.withheld)
        guard features.contains(.version1) else {
            throw VhostUserError(.device, "The back-end does not offer VIRTIO_F_VERSION_1, and legacy devices are not served.")
        }
        var common: ProtocolFeatures = []
        if hasProtocolFeatures {
            common = ProtocolFeatures(rawValue: try connection.number(.getProtocolFeatures)).intersection(VhostUserFrontend.wanted)
            try connection.send(.setProtocolFeatures(common.rawValue))
            if common.contains(.replyAck) { connection.acknowledgeAll() }
        }
        protocolFeatures = common
        canLog = common.contains(.logMemory) && offered & ProtocolFeatures.logging != 0
        guard profile.configurationSize == 0 || common.contains(.configuration) || profile.configuration.count >= profile.configurationSize
        else {
            throw VhostUserError(.device, "The back-end has no configuration space (VHOST_USER_PROTOCOL_F_CONFIG).")
        }
        if common.contains(.multiQueue) {
            let count = try connection.number(.getQueueCount)
            guard count >= UInt64(profile.queueCount) else {
                throw VhostUserError(.device, "The back-end has \(count) queues; expected at least \(profile.queueCount).")
            }
        }
        try connection.send(.setOwner)
    }

    /// Makes the channel on which the back-end asks, if it wants one.
    func openChannel(
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
