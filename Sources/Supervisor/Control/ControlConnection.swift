import NIOCore
import NIOHTTP1

/// One client's connection: takes one request after the other and answers each before it looks at the next.
///
/// Everything here runs on the event loop and none of it waits. Answers to commands come from the command thread through the gate.
final class ControlConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// Asks the connection to end after what it does at the moment.
    struct Drain: Sendable {}

    /// Where the connection stands.
    enum Phase {
        /// No request's head has come since the last answer.
        case idle
        /// The body of a request comes in.
        case receiving(ControlExchange)
        /// A command is on its way.
        case working(ControlExchange)
        /// The answer goes out.
        case sending
        /// Events go out.
        case streaming(EventSubscriber)
        /// Nothing more is done; what still comes in is dropped.
        case leaving
    }

    let services: ControlServices
    var phase = Phase.idle
    /// Set while the connection is part of a pipeline.
    var context: ChannelHandlerContext?
    /// The client has closed its direction: what it has asked for is answered, nothing more will come.
    private var inputIsClosed = false
    private var isDraining = false
    private var deadline: Scheduled<Void>?

    init(services: ControlServices) { self.services = services }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) { forget() }

    func channelActive(context: ChannelHandlerContext) {
        setDeadline(services.limits.exchange)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        forget()
        context.fireChannelInactive()
    }

    private func forget() {
        if case .streaming(let subscriber) = phase { services.hub.unsubscribe(subscriber) }
        setDeadline(nil)
        phase = .leaving
        context = nil
    }

    // MARK: Requests

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (unwrapInboundIn(data), phase) {
        case (.head(let head), .idle): begin(head)
        case (.body(let bytes), .receiving(var exchange)):
            exchange.body.append(contentsOf: bytes.readableBytesView)
            phase = .receiving(exchange)
            if exchange.body.count > services.limits.body { answer(.tooLarge(services.limits.body), to: exchange) }
        case (.end, .receiving(var exchange)):
            exchange.isWhole = true
            setDeadline(nil)
            perform(exchange)
        default: break
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        var exchange = ControlExchange(head)
        setDeadline(services.limits.exchange)
        phase = .receiving(exchange)
        do throws(ControlResponse.Refusal) {
            try exchange.check(head, limits: services.limits)
        } catch {
            return answer(error, to: exchange)
        }
        do throws(ControlResponse.Refusal) {
            exchange.match = .success(try ControlRoute.match(method: head.method.rawValue, target: head.uri))
        } catch {
            // A client that waits for leave to send its body hears now that it need not; the others are answered after their body.
            if exchange.expectsContinue { return answer(error, to: exchange) }
            exchange.match = .failure(error)
        }
        phase = .receiving(exchange)
        if exchange.expectsContinue {
            context?.writeAndFlush(wrapOutboundOut(.head(HTTPResponseHead(version: head.version, status: .continue))), promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let malformed = error as? HTTPParserError else { return context.close(promise: nil) }
        switch phase {
        case .idle: answer(refusal(malformed), to: ControlExchange())
        case .receiving(let exchange): answer(refusal(malformed), to: exchange)
        default: context.close(promise: nil)
        }
    }

    private func refusal(_ error: HTTPParserError) -> ControlResponse.Refusal {
        switch error {
        case .headerOverflow: ControlResponse.Refusal(431, .usage, "The request's head is longer than the server takes.")
        case .invalidVersion: .badRequest("The request is not HTTP/1.1 or HTTP/1.0.")
        case .invalidEOFState: .badRequest("The request ended too early.")
        default: .badRequest("The request is malformed (\(error)).")
        }
    }

    // MARK: Answers

    /// Answers a request that is not carried out. When some of it has yet to come, the connection ends with the answer.
    func answer(_ refusal: ControlResponse.Refusal, to exchange: ControlExchange) { answer(ControlResponse(refusal), to: exchange) }

    /// Sends an answer; the next request is looked at when the client's side has taken this one's answer.
    func answer(_ response: ControlResponse, to exchange: ControlExchange) {
        guard let context else { return }
        let staysOpen = exchange.isWhole && exchange.keepsAlive && !isDraining && !inputIsClosed
        var body = context.channel.allocator.buffer(capacity: 0)
        if let value = response.body { body.writeString(JSONResponse.text(value)) }
        let headers = exchange.headers(for: response, length: body.readableBytes, staysOpen: staysOpen)
        if exchange.isHead { body.clear() }
        let status = HTTPResponseStatus(statusCode: response.status)
        phase = .sending
        setDeadline(services.limits.exchange)
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenComplete { [self] result in
            switch result {
            case .success: finish(exchange, staysOpen: staysOpen)
            case .failure: self.context?.close(promise: nil)
            }
        }
        context.write(wrapOutboundOut(.head(HTTPResponseHead(version: exchange.version, status: status, headers: headers))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(body))), promise: sent)
    }

    /// The answer has gone out. Only now the pipeline is told, so that a client that sends requests and reads no answers fills no memory.
    private func finish(_ exchange: ControlExchange, staysOpen: Bool) {
        guard let context, case .sending = phase else { return }
        if staysOpen, !isDraining, !inputIsClosed {
            // In this order: the next request may be waiting, and comes while the end is written.
            phase = .idle
            setDeadline(services.limits.exchange)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        } else {
            leave(abruptly: exchange.isWhole)
        }
    }

    /// Ends the connection after an answer or a stream. A client that is still sending gets time to read why.
    func leave(abruptly: Bool) {
        guard let context else { return }
        phase = .leaving
        setDeadline(services.limits.farewell)
        let isClosing = abruptly || inputIsClosed
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenComplete { [self] _ in
            self.context?.close(mode: isClosing ? .all : .output, promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: sent)
    }

    // MARK: Time and the other end

    func setDeadline(_ milliseconds: Int64?) {
        deadline?.cancel()
        deadline = nil
        guard let milliseconds, let context else { return }
        deadline = context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(milliseconds)) { [self] in timeIsUp() }
    }

    private func timeIsUp() {
        switch phase {
        case .receiving(let exchange): answer(.tooSlow, to: exchange)
        case .idle, .sending, .leaving: context?.close(promise: nil)
        case .working, .streaming: break
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ChannelEvent.inputClosed:
            inputIsClosed = true
            switch phase {
            case .idle, .receiving, .leaving: context.close(promise: nil)
            case .working, .sending, .streaming: break
            }
        case is Drain:
            isDraining = true
            switch phase {
            case .idle, .receiving: context.close(promise: nil)
            case .streaming: endStream()
            case .working, .sending, .leaving: break
            }
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        sendEvents()
        context.fireChannelWritabilityChanged()
    }
}
