import Host
import Synchronization
import Virtio

/// One connection to a back-end and what was agreed on it.
final class BackEndLink: Sendable {
    let connection: BackEndConnection
    let greeting: Greeting
    /// Bytes of configuration space that the back-end serves.
    let spaceSize: Int
    /// The space as the back-end showed it at first.
    let configuration: [UInt8]
    private let requests: BackEndRequests?
    private let adoption: Adoption
    /// Reads what has changed, and tells the driver.
    private let changed: @Sendable () -> Void

    /// Whether the back-end has the device: what one says that is refused after all is not for the guest.
    private final class Adoption: Sendable {
        private let state = Mutex((isAdopted: false, hasMissed: false))

        var isComplete: Bool { state.withLock { $0.isAdopted } }

        /// It has. True when it has said something before.
        func complete() -> Bool {
            state.withLock { state in
                state.isAdopted = true
                return state.hasMissed
            }
        }

        /// It says that something has changed; whether it has the device.
        func hears() -> Bool {
            state.withLock { state in
                if !state.isAdopted { state.hasMissed = true }
                return state.isAdopted
            }
        }
    }

    /// Greets the back-end at the other end of `socket`. `space` gets to know of changes when it is adopted: it may turn out not to be the
    /// one.
    init(
        _ socket: consuming OwnedDescriptor, _ profile: FrontendProfile, _ space: FrontendSpace, _ events: FrontendEvents?
    ) throws(VhostUserError) {
        let slot = Slot(socket)
        let isLast = profile.recovery == nil
        let adoption = Adoption()
        self.adoption = adoption
        let failed: @Sendable (VhostUserError) -> Void = { error in
            events?.failed(error)
            // Nobody comes after it: its driver shall not wait for ever.
            if isLast, adoption.isComplete { space.announceEnd() }
        }
        let connection = try hosted("use the connection") { () throws(SystemError) in
            guard let socket = slot.take() else { throw SystemError("connection", .invalidArgument) }
            return try BackEndConnection(socket, patience: profile.patience, failed: failed)
        }
        self.connection = connection
        let greeting = try Greeting(connection, profile)
        self.greeting = greeting
        let size =
            greeting.protocolFeatures.contains(.configuration) ? profile.configurationSize : 0
        spaceSize = size
        configuration = size > 0 ? try connection.configuration(count: size) : []
        // Its capacity comes first (virtio 1.3, 5.2.4).
        if profile.deviceType == .block, size >= 8, configuration.prefix(8).allSatisfy({ $0 == 0 }) {
            throw VhostUserError(.device, "The back-end has a disk without any space, or serves another kind of device.")
        }
        let knowsStatus = greeting.protocolFeatures.contains(.status)
        let changed: @Sendable () -> Void = {
            space.refreshAndAnnounce(from: connection, count: size, knowsStatus: knowsStatus)
        }
        self.changed = changed
        requests = try greeting.openChannel(
            connection, label: profile.label, changed: { if adoption.hears() { changed() } },
            ended: {
                // Somebody who only spoils this channel has not left.
                if connection.isHungUp { connection.fail(VhostUserError(.departure, "The back-end has left.")) }
            })
    }

    /// From now on it has the device: the driver hears what it says, and what it has said since the greeting.
    func adopt() { if adoption.complete() { changed() } }

    /// Whether the back-end and we agreed on something of the protocol.
    func has(_ features: ProtocolFeatures) -> Bool { greeting.protocolFeatures.contains(features) }

    /// Ends the connection; harmless when it has ended.
    func close() {
        connection.close()
        requests?.stop()
    }

    deinit { close() }
}
