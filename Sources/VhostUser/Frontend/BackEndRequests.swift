import Host

/// Listens on the channel on which a back-end asks: a thread of its own, because a request can come at any time.
package final class BackEndRequests: Sendable {
    private let worker: WorkerThread<Bool>

    /// Listens on `socket`; `changed` is called for every change of the configuration space, and `ended` when the back-end has left, on this
    /// object's thread.
    init(
        _ socket: consuming OwnedDescriptor, label: String, changed: @escaping @Sendable () -> Void, ended: @escaping @Sendable () -> Void
    ) throws(SystemError) {
        let slot = Slot(socket)
        worker = try WorkerThread(name: "\(label)/channel", state: true) { _, stop in
            guard let socket = slot.take() else { return }
            // What is wrong with this channel the other one finds out: a back-end that breaks rules here has nothing to gain.
            guard let connection = try? MessageConnection(socket, stop: stop) else { return }
            // A back-end that never stops asking is left all the same.
            while !stop.isSignalled, let message = try? connection.receive() {
                let known = message.header.request == BackEndRequest.configurationChanged.rawValue && message.payload.isEmpty
                if known { changed() }
                guard message.header.needsReply else { continue }
                let reply = BackEndReply.number(known ? 0 : 1).payload
                try? connection.send(MessageHeader(request: message.header.request, isReply: true, size: reply.count), reply)
            }
            if !stop.isSignalled { ended() }
        }
    }

    /// Ends it.
    package func stop() { _ = worker.stop() }
}
