public import Schema
import Synchronization

/// Where a VM tells what happens to it, and where clients of the control socket hear of it.
///
/// A publisher never waits: each subscriber has a bounded backlog, and one that is too slow loses the oldest lines and is told how many.
public final class EventHub: Sendable {
    private struct State {
        var subscribers: [UInt64: EventSubscriber] = [:]
        var nextID: UInt64 = 0
    }
    private let state = Mutex(State())

    /// A hub without subscribers.
    public init() {}

    /// Tells every subscriber of an event: an object with `event`, the event's name, and what belongs to it. `time` is added when it is
    /// not there. From any thread.
    public func publish(_ event: JSONValue) {
        let subscribers = state.withLock { Array($0.subscribers.values) }
        guard !subscribers.isEmpty else { return }
        let line = ControlText.line(Self.stamped(event))
        for subscriber in subscribers { subscriber.offer(line) }
    }

    /// The VM came into a state.
    public func publishState(_ name: String) { publish(["event": "state", "state": .string(name)]) }

    /// The guest's kernel panicked.
    public func publishPanic() { publish(["event": "panic"]) }

    /// A device failed; `message` is one sentence.
    public func publishDeviceError(id: String, message: String) {
        publish(["event": "deviceError", "device": .string(id), "message": .string(message)])
    }

    /// Subscribers at the moment.
    var subscriberCount: Int { state.withLock { $0.subscribers.count } }

    /// Adds a subscriber with room for `backlog` lines. `wake` is called, from any thread, when there are lines after there were none.
    func subscribe(backlog: Int, wake: @escaping @Sendable () -> Void) -> EventSubscriber {
        state.withLock { state in
            let subscriber = EventSubscriber(id: state.nextID, backlog: backlog, wake: wake)
            state.subscribers[state.nextID] = subscriber
            state.nextID &+= 1
            return subscriber
        }
    }

    func unsubscribe(_ subscriber: EventSubscriber) {
        state.withLock { state in _ = state.subscribers.removeValue(forKey: subscriber.id) }
    }

    /// An event with its time.
    static func stamped(_ event: JSONValue) -> JSONValue {
        guard case .object(var members) = event else { return ["time": .string(ControlTime.now()), "event": event] }
        if members["time"] == nil { members["time"] = .string(ControlTime.now()) }
        return .object(members)
    }
}

/// One reader's place at a hub.
final class EventSubscriber: Sendable {
    private struct State {
        var lines: [String] = []
        var dropped: Int64 = 0
        /// The reader has been told and has not looked yet.
        var isAwake = false
    }
    let id: UInt64
    private let backlog: Int
    private let wake: @Sendable () -> Void
    private let state = Mutex(State())

    init(id: UInt64, backlog: Int, wake: @escaping @Sendable () -> Void) {
        self.id = id
        self.backlog = max(backlog, 1)
        self.wake = wake
    }

    /// Adds a line; the oldest one makes room when there is none.
    func offer(_ line: String) {
        let mustWake = state.withLock { state in
            if state.lines.count >= backlog {
                state.lines.removeFirst()
                state.dropped &+= 1
            }
            state.lines.append(line)
            defer { state.isAwake = true }
            return !state.isAwake
        }
        if mustWake { wake() }
    }

    /// Takes all lines, preceded by one that counts those that were lost. After an empty answer, `wake` is called for the next line.
    func take() -> [String] {
        state.withLock { state in
            guard !state.lines.isEmpty else {
                state.isAwake = false
                return []
            }
            var lines: [String] = []
            if state.dropped > 0 {
                lines.append(ControlText.line(EventHub.stamped(["event": "dropped", "count": .integer(state.dropped)])))
            }
            lines += state.lines
            state.lines.removeAll(keepingCapacity: true)
            state.dropped = 0
            return lines
        }
    }
}
