import Host
import Synchronization

/// The one thread that carries out commands, in the order of their arrival.
///
/// Commands may take seconds, and the thread may be inside one when the server stops: then it is left behind, and the process's end ends it.
final class CommandThread: Sendable {
    /// A command.
    struct Job: Sendable {
        /// Carries it out and answers.
        let run: @Sendable () -> Void
        /// Answers that it will not be carried out.
        let refuse: @Sendable () -> Void
    }

    /// What the thread and its users share.
    private final class Queue: Sendable {
        struct State {
            var waiting: [Job] = []
            var isClosed = false
        }
        let state = Mutex(State())
        let changed: EventFD
        let finished: EventFD

        init() throws(SystemError) {
            changed = try EventFD()
            finished = try EventFD()
        }

        /// The thread's life.
        func work(_ poller: borrowing Poller) {
            defer { finished.signal() }
            while true {
                changed.drain()
                while let job = state.withLock({ $0.waiting.isEmpty ? nil : $0.waiting.removeFirst() }) { job.run() }
                if state.withLock({ $0.isClosed }) { return }
                // Without a working poller there is no waiting; the queue is closed so that nobody waits for an answer.
                if (try? poller.wait { _ in }) == nil { close() }
            }
        }

        func close() {
            let refused = state.withLock { state in
                state.isClosed = true
                defer { state.waiting.removeAll() }
                return state.waiting
            }
            for job in refused { job.refuse() }
            changed.signal()
        }
    }

    private let queue: Queue
    private let thread: WorkerThread<Poller>
    private let depth: Int

    /// Threads that were inside a command when their server stopped.
    private static let abandoned = Mutex<[WorkerThread<Poller>]>([])

    /// Starts the thread; at most `depth` commands wait.
    init(depth: Int) throws(SystemError) {
        let queue = try Queue()
        let poller = try Poller()
        try poller.add(queue.changed.rawValue, token: 0)
        self.queue = queue
        self.depth = depth
        thread = try WorkerThread(name: "control", state: poller) { poller, _ in queue.work(poller) }
    }

    /// Adds a command; false when too many wait, or no more are taken.
    func submit(_ job: Job) -> Submission {
        let result: Submission = queue.state.withLock { state in
            if state.isClosed { return .closed }
            if state.waiting.count >= depth { return .full }
            state.waiting.append(job)
            return .accepted
        }
        if result == .accepted { queue.changed.signal() }
        return result
    }

    /// What became of a command.
    enum Submission: Sendable {
        /// It will be carried out.
        case accepted
        /// Too many wait.
        case full
        /// No more are taken.
        case closed
    }

    /// Refuses what waits, and waits for the end of the command that runs, for at most `milliseconds`.
    func stop(milliseconds: Int32) {
        queue.close()
        if queue.finished.waitWithoutDraining(milliseconds: Int64(milliseconds)) {
            _ = thread.stop()
        } else {
            Self.abandoned.withLock { $0.append(thread) }
        }
    }
}
