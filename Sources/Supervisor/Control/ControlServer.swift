import Host
import NIOCore
import NIOHTTP1
import NIOPosix
import Schema
import Synchronization

/// The control socket of one VM: HTTP/1.1 with JSON on a Unix socket. Docs/control.md describes it, Docs/openapi.json defines it.
///
/// It has one event-loop thread and one thread for commands. Nothing that a client does holds up either, or the VM.
public final class ControlServer: Sendable {
    private let group: MultiThreadedEventLoopGroup
    private let listener: any Channel
    private let services: ControlServices
    private let socketPath: String
    private let isStopped = Mutex(false)

    /// Event loops that did not answer when their server stopped.
    private static let abandoned = Mutex<[MultiThreadedEventLoopGroup]>([])

    /// Starts to listen in a VM's runtime directory. From the return of this call on, clients are answered.
    public static func start(vm: any ControlledVM, directory: RuntimeDirectory, hub: EventHub) throws(VMError) -> ControlServer {
        try start(vm: vm, directory: directory, hub: hub, limits: ControlLimits())
    }

    static func start(vm: any ControlledVM, directory: RuntimeDirectory, hub: EventHub, limits: ControlLimits) throws(VMError)
        -> ControlServer
    {
        try start(on: try listen(in: directory), vm: vm, directory: directory, hub: hub, limits: limits)
    }

    /// Begins to listen in a VM's runtime directory. Clients can connect from now on; they are answered when the server starts.
    static func listen(in directory: RuntimeDirectory) throws(VMError) -> OwnedDescriptor {
        let path = directory.socketPath
        // The lock is ours: whatever stands here was left behind.
        removeFile(path)
        return try VMError.host("listen on the control socket \(path)") { () throws(SystemError) in
            let socket = try UnixSocket.listen(at: path)
            try socket.setNonBlocking()
            return socket
        }
    }

    /// Starts to answer on a socket that `listen` made.
    static func start(
        on socket: consuming OwnedDescriptor, vm: any ControlledVM, directory: RuntimeDirectory, hub: EventHub,
        limits: ControlLimits = ControlLimits()
    ) throws(VMError) -> ControlServer {
        let path = directory.socketPath
        let commands = try VMError.host("start the command thread") { () throws(SystemError) in
            try CommandThread(depth: limits.waitingCommands)
        }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let services = ControlServices(
            vm: vm, hub: hub, commands: commands, limits: limits, gate: LoopGate(group.next()), connections: ConnectionTable())
        do {
            let listener = try bootstrap(group, services).withBoundSocket(socket.release()).wait()
            return ControlServer(group: group, listener: listener, services: services, socketPath: path)
        } catch {
            services.gate.close()
            commands.stop(milliseconds: 100)
            try? group.syncShutdownGracefully()
            removeFile(path)
            throw VMError(.host, "The host could not listen on the control socket \(path) (\(error)).")
        }
    }

    private init(group: MultiThreadedEventLoopGroup, listener: any Channel, services: ControlServices, socketPath: String) {
        self.group = group
        self.listener = listener
        self.services = services
        self.socketPath = socketPath
    }

    private static func bootstrap(_ group: MultiThreadedEventLoopGroup, _ services: ControlServices) -> ServerBootstrap {
        let limits = services.limits
        return ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 64)
            // A client that has closed its direction still gets its answer.
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard services.connections.admit(channel, limit: limits.connections) else {
                        return try channel.pipeline.syncOperations.addHandlers(HTTPResponseEncoder(), ConnectionRefusal())
                    }
                    var decoding = NIOHTTPDecoderLimitConfiguration()
                    decoding.maxHeaderFieldSize = limits.headers
                    decoding.maxHeaderListSize = limits.headers
                    decoding.maxHeaderFieldCount = limits.headerFields
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline(
                        withErrorHandling: false, withEncoderConfiguration: .init(), withDecoderLimitConfiguration: decoding)
                    try channel.pipeline.syncOperations.addHandler(ControlConnection(services: services))
                }
            }
    }

    /// Ends the server, within a second: no new clients; commands that wait are refused; answers on their way go out; streams end.
    ///
    /// A command that runs for longer is left behind on its thread. Not to be called from inside a command.
    public func stop() {
        let wasStopped = isStopped.withLock { stopped in
            defer { stopped = true }
            return stopped
        }
        guard !wasStopped else { return }
        removeFile(socketPath)
        let listener = listener
        services.gate.execute { listener.close(promise: nil) }
        services.commands.stop(milliseconds: 300)
        var isResponsive = false
        if let emptied = try? EventFD(), let alive = try? EventFD() {
            let connections = services.connections
            services.gate.execute {
                alive.signal()
                connections.drain { emptied.signal() }
            }
            isResponsive = alive.waitWithoutDraining(milliseconds: 300)
            if isResponsive { _ = emptied.waitWithoutDraining(milliseconds: 300) }
        }
        services.gate.close()
        if isResponsive {
            try? group.syncShutdownGracefully()
        } else {
            Self.abandoned.withLock { $0.append(group) }
        }
    }

    deinit { stop() }

    /// Connections at the moment.
    var openConnections: Int { services.connections.count }
}

/// Tells one client too many that it is one.
private final class ConnectionRefusal: ChannelInboundHandler {
    typealias InboundIn = Never
    typealias OutboundOut = HTTPServerResponsePart

    func channelActive(context: ChannelHandlerContext) {
        let exchange = ControlExchange()
        let response = ControlResponse(.tooManyConnections)
        let text = JSONResponse.text(response.body ?? .null)
        let headers = exchange.headers(for: response, length: text.utf8.count, staysOpen: false)
        context.write(
            wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .serviceUnavailable, headers: headers))), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: text)))), promise: nil)
        let sent = context.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenComplete { _ in context.close(promise: nil) }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: sent)
    }
}
