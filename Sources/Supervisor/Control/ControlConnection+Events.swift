import NIOCore
import NIOHTTP1
import Schema

extension ControlConnection {
    /// Answers with events, one JSON object on each line, until either side ends. The first line tells the VM's state.
    func beginStream(_ exchange: ControlExchange) {
        guard let context else { return }
        guard !exchange.isHead else { return answer(ControlResponse(200, nil), to: exchange) }
        let myself = NIOLoopBound(self, eventLoop: context.eventLoop)
        let gate = services.gate
        // Subscribed first, so that no change falls between the state and the first event.
        let subscriber = services.hub.subscribe(backlog: services.limits.waitingEvents) {
            gate.execute { myself.value.sendEvents() }
        }
        phase = .streaming(subscriber)
        var headers = HTTPHeaders([("content-type", "application/x-ndjson"), ("cache-control", "no-store")])
        if exchange.version == .http1_0 { headers.add(name: "connection", value: "close") }
        context.write(wrapOutboundOut(.head(HTTPResponseHead(version: exchange.version, status: .ok, headers: headers))), promise: nil)
        let state = services.vm.info().member("state") ?? .null
        send(ControlText.line(EventHub.stamped(["event": "state", "state": state])))
        sendEvents()
    }

    /// Sends what waits for this reader, as far as it takes it; the rest waits, and is bounded, at the hub.
    func sendEvents() {
        guard let context, case .streaming(let subscriber) = phase else { return }
        while context.channel.isWritable {
            let lines = subscriber.take()
            if lines.isEmpty { return }
            send(lines.joined())
        }
    }

    private func send(_ text: String) {
        guard let context else { return }
        context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: text)))), promise: nil)
    }

    /// Ends the stream as a whole answer ends, so that the client knows that nothing is missing.
    func endStream() {
        guard case .streaming(let subscriber) = phase else { return }
        sendEvents()
        services.hub.unsubscribe(subscriber)
        leave(abruptly: true)
    }
}
