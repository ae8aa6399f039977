import Host
import Synchronization

/// The events with which a device in another process reports used buffers, and a thread that passes them on while the kernel does not.
///
/// Most devices never need them: events are made and the thread is started when somebody first asks.
final class CallEvents: Sendable {
    private struct State {
        var events: [EventFD]
        var relay: EventRelay?
        var isPassing = true
    }

    private let queueCount: Int
    private let state: Mutex<State>

    /// Events of their own, one for each queue.
    init(queueCount: Int) {
        self.queueCount = queueCount
        state = Mutex(State(events: []))
    }

    /// Events that exist already.
    init(_ events: [EventFD]) {
        queueCount = events.count
        state = Mutex(State(events: events))
    }

    /// The queue's event; `pass` is called with the queue's index for every signal that is to be passed on.
    func event(_ queue: Int, _ pass: @escaping @Sendable (Int) -> Void) -> EventFD? {
        state.withLock { state in
            guard (0..<queueCount).contains(queue) else { return nil }
            do throws(SystemError) {
                while state.events.count < queueCount { state.events.append(try EventFD()) }
                if state.relay == nil {
                    let relay = try EventRelay(state.events, name: "calls", signalled: pass)
                    if state.isPassing { try relay.setWatching(true) }
                    state.relay = relay
                }
            } catch {
                return nil
            }
            return state.events[queue]
        }
    }

    /// Forgets signals that nobody has passed on yet.
    func drain() {
        state.withLock { state in
            for event in state.events { event.drain() }
        }
    }

    /// Says who passes signals on: the thread, or whoever the events are attached to.
    func setPassing(_ isPassing: Bool) {
        state.withLock { state in
            state.isPassing = isPassing
            // epoll_ctl on good descriptors fails for want of memory only.
            try? state.relay?.setWatching(isPassing)
        }
    }
}
