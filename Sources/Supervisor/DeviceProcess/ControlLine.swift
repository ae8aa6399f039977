import Host
import Schema
import Synchronization
import Virtqueue

/// A device's process's end of the socket to its supervisor: JSON objects, one a line.
final class ControlLine: Sendable {
    private let socket: OwnedDescriptor

    init(inherited raw: Int32) throws(SystemError) { socket = try OwnedDescriptor.adopting(inherited: raw) }

    /// Sends a line. A supervisor that has gone is noticed by whoever listens.
    func send(_ message: JSONValue) {
        let bytes = Array((JSONText.encode(message, compact: true) + "\n").utf8)
        var written = 0
        while written < bytes.count {
            guard let count = try? socket.send(bytes.span.extracting(written...).untyped) else { return }
            written += count
        }
    }

    /// Sends a line that may be lost: when the supervisor does not listen, nobody waits for it.
    func offer(_ message: JSONValue) {
        guard (try? socket.waitWritable(milliseconds: 0)) == true else { return }
        send(message)
    }

    /// Calls `onRequest` for each line of the supervisor's, and `onEnd` when it hangs up, on a thread of its own.
    func listen(
        onRequest: @escaping @Sendable (JSONValue) -> Void, onEnd: @escaping @Sendable () -> Void
    ) throws(SystemError) -> Listener {
        Listener(
            try WorkerThread(name: "control", state: true) { [self] _, stop in
                guard let poller = try? Poller(), (try? poller.add(socket.rawValue, token: 0)) != nil,
                    (try? poller.add(stop.rawValue, token: 1)) != nil
                else { return onEnd() }
                var text: [UInt8] = []
                while true {
                    var isStopped = false
                    guard (try? poller.wait { event in if event.token == 1 { isStopped = true } }) != nil else { return onEnd() }
                    if isStopped { return }
                    guard let bytes = try? socket.readSome(4096), !bytes.isEmpty else { return onEnd() }
                    text += bytes
                    while let end = text.firstIndex(of: UInt8(ascii: "\n")) {
                        let line = Array(text[..<end])
                        text.removeFirst(end + 1)
                        if let request = try? JSONText.decode(line) { onRequest(request) }
                    }
                }
            })
    }

    /// A thread that listens.
    final class Listener: Sendable {
        private let worker: WorkerThread<Bool>
        init(_ worker: WorkerThread<Bool>) { self.worker = worker }
        func stop() { _ = worker.stop() }
    }
}
