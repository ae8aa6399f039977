import NIOCore
import Synchronization

/// What all connections of a server share.
final class ControlServices: Sendable {
    let vm: any ControlledVM
    let hub: EventHub
    let commands: CommandThread
    let limits: ControlLimits
    let gate: LoopGate
    let connections: ConnectionTable

    init(
        vm: any ControlledVM, hub: EventHub, commands: CommandThread, limits: ControlLimits, gate: LoopGate, connections: ConnectionTable
    ) {
        self.vm = vm
        self.hub = hub
        self.commands = commands
        self.limits = limits
        self.gate = gate
        self.connections = connections
    }
}

/// The way onto the event loop for other threads. It closes before the loop ends: a command that ends later, or an event, goes nowhere.
final class LoopGate: Sendable {
    private let loop: Mutex<(any EventLoop)?>

    init(_ loop: any EventLoop) { self.loop = Mutex(loop) }

    /// Runs `body` on the loop soon; never while this call lasts.
    func execute(_ body: @escaping @Sendable () -> Void) { loop.withLock { $0?.execute(body) } }

    func close() { loop.withLock { $0 = nil } }
}

/// The connections that are open.
final class ConnectionTable: Sendable {
    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        var onEmpty: (@Sendable () -> Void)?
    }
    private let state = Mutex(State())

    /// How many there are.
    var count: Int { state.withLock { $0.channels.count } }

    /// Adds a connection until it is closed; false when there are `limit` already.
    func admit(_ channel: any Channel, limit: Int) -> Bool {
        let id = ObjectIdentifier(channel)
        let isAdmitted = state.withLock { state in
            guard state.channels.count < limit, state.onEmpty == nil else { return false }
            state.channels[id] = channel
            return true
        }
        if isAdmitted { channel.closeFuture.whenComplete { [weak self] _ in self?.remove(id) } }
        return isAdmitted
    }

    private func remove(_ id: ObjectIdentifier) {
        let onEmpty = state.withLock { state in
            state.channels[id] = nil
            return state.channels.isEmpty ? state.onEmpty : nil
        }
        onEmpty?()
    }

    /// Asks every connection to end after what it does at the moment; `onEmpty` is called when all have.
    func drain(_ onEmpty: @escaping @Sendable () -> Void) {
        let channels = state.withLock { state in
            state.onEmpty = onEmpty
            return Array(state.channels.values)
        }
        if channels.isEmpty { onEmpty() }
        for channel in channels { channel.pipeline.fireUserInboundEventTriggered(ControlConnection.Drain()) }
    }
}
