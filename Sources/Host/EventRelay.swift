import Synchronization

/// Calls a function whenever one of several eventfds is signalled, on a thread of its own: for events that another process signals and
/// that the kernel passes to nobody.
public final class EventRelay: Sendable {
    private final class Watch: Sendable {
        let poller: Poller
        let events: [EventFD]
        let isOn = Mutex(false)

        init(_ events: [EventFD]) throws(SystemError) {
            poller = try Poller()
            self.events = events
        }
    }

    private let watch: Watch
    private let worker: WorkerThread<Bool>

    private static let stopToken = UInt64.max

    /// Will call `signalled` with the index of an event, after having drained it. Nothing is watched yet. The thread is called `name`.
    public init(_ events: [EventFD], name: String, signalled: @escaping @Sendable (Int) -> Void) throws(SystemError) {
        let watch = try Watch(events)
        self.watch = watch
        worker = try WorkerThread(name: name, state: true) { _, stop in
            // A thread that cannot wait would spin; the descriptors are good, so this does not fail.
            guard (try? watch.poller.add(stop.rawValue, token: Self.stopToken)) != nil else { return }
            var isStopped = false
            while !isStopped {
                var ready: [Int] = []
                guard
                    (try? watch.poller.wait { event in
                        if event.token == Self.stopToken { isStopped = true } else { ready.append(Int(clamping: event.token)) }
                    }) != nil
                else { return }
                for index in ready where watch.events.indices.contains(index) && watch.events[index].drain() { signalled(index) }
            }
        }
    }

    /// Begins to watch, or ends it: then signals stay in their events for whoever else reads them. One call at a time takes effect.
    public func setWatching(_ isOn: Bool) throws(SystemError) {
        try watch.isOn.withLock { (now) throws(SystemError) in
            guard now != isOn else { return }
            for (index, event) in watch.events.enumerated() {
                if isOn {
                    try watch.poller.add(event.rawValue, token: UInt64(index))
                } else {
                    try watch.poller.remove(event.rawValue)
                }
            }
            now = isOn
        }
    }

    deinit { _ = worker.stop() }
}
