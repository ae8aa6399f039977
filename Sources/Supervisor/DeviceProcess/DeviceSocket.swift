import Host
import Logging
import VhostUser
import Virtio

/// Where a device's front-ends come from, and the service that they get.
struct DeviceSocket: ~Copyable, Sendable {
    private let socket: OwnedDescriptor
    private let isListening: Bool

    init(_ socket: consuming OwnedDescriptor, isListening: Bool) {
        self.socket = socket
        self.isListening = isListening
    }

    private enum Token {
        static let socket: UInt64 = 0
        static let stop: UInt64 = 1
    }

    /// Serves the front-ends one after the other until `stop` is signalled, or the only one until it has left. Only what ends the service
    /// is returned; what ends one connection of many is logged.
    consuming func serve(_ device: any VirtioDevice, isOwn: Bool, logger: Logger, stop: EventFD) -> VhostUserError? {
        let backend = VhostUserBackend(device, takesControl: isOwn) { logger.warning("\($0)") }
        guard isListening else {
            do { try backend.serve(socket, stop: stop) } catch { return error }
            return nil
        }
        do throws(VhostUserError) {
            while let connection = try next(stop) {
                logger.info("a front-end has come")
                do throws(VhostUserError) {
                    try backend.serve(connection, stop: stop)
                    logger.info("the front-end has left")
                } catch {
                    logger.warning("the connection was ended: \(error)")
                }
            }
        } catch {
            return error
        }
        return nil
    }

    /// The next front-end; nil when it is time to stop.
    private borrowing func next(_ stop: EventFD) throws(VhostUserError) -> OwnedDescriptor? {
        do throws(SystemError) {
            try socket.setNonBlocking()
            let poller = try Poller()
            try poller.add(socket.rawValue, token: Token.socket)
            try poller.add(stop.rawValue, token: Token.stop)
            while true {
                var isStopped = false
                try poller.wait { event in if event.token == Token.stop { isStopped = true } }
                if isStopped { return nil }
                do throws(SystemError) { return try UnixSocket.accept(on: socket) } catch {
                    // Somebody who came and left again, or nobody yet.
                    guard error.errno == .wouldBlock || error.errno == .connectionAborted else { throw error }
                }
            }
        } catch {
            throw VhostUserError(.host, "The host could not take a connection (\(error)).")
        }
    }
}
