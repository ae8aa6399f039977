import CLinux
import Glibc
import Synchronization

/// A loop as an executor of tasks that are no actor's. A type of its own, because the runtime hands jobs of both kinds over by the same method.
private final class LoopTasks: TaskExecutor, @unchecked Sendable {
    /// Set once, before there is a task; whoever has a task keeps the loop.
    unowned(unsafe) var loop: EventLoop?

    func enqueue(_ job: consuming ExecutorJob) { unsafe loop?.enqueue(taskJob: job) }

    func asUnownedTaskExecutor() -> UnownedTaskExecutor { unsafe UnownedTaskExecutor(ordinary: self) }
}

/// Whom a loop runs for. Both calls come on the loop's thread, outside any task.
public protocol EventLoopClient: AnyObject {
    /// The loop has run all that was ready, and looks at its descriptors next.
    func loopWillWait()
    /// The loop was told to stop; all waits end after this.
    func loopEnds()
}

/// One thread that waits with one epoll(7) set and runs the tasks of a device: a Swift executor, of actors and of tasks that prefer it.
///
/// What runs here runs on this thread and on no other, and never on the cooperative pool, which a jailed process does not even have. A job that
/// the thread makes ready itself costs no system call; one from elsewhere costs a lock and an eventfd. A loop has a thread only inside
/// `run`; it may run again and again, on another thread each time. Jobs that come while it does not run wait.
public final class EventLoop: SerialExecutor, @unchecked Sendable {
    /// The loop's set, for what has descriptors to add under tokens that `reserve` gave. On the loop's thread.
    public let poller: Poller
    private let arrival: EventFD
    /// The loop as an executor of tasks.
    private let tasks = LoopTasks()
    /// What other threads have brought.
    private let inbox = Mutex(Inbox())
    /// The thread that runs the loop; 0 when none does.
    private let thread = Atomic<UInt>(0)

    // The rest is the loop's thread's alone.
    private var jobs: [Job] = []
    private var batch: [Job] = []
    private var waiting: [Waiter] = []
    /// How many of them wait for a limited time.
    private var timeCount = 0
    private var handlers: [((PollEvent) -> Void)?] = []
    private var isDone = false
    /// What waits on the loop is being ended: `run` was told to stop. On the loop's thread.
    public private(set) var isEnding = false

    private struct Job: Sendable {
        let job: UnownedJob
        /// It is a job of an actor of this loop, and not just of a task that prefers it: the runtime has to know, or it hops once more.
        let isActors: Bool
    }

    private struct Inbox {
        var jobs: [Job] = []
        var signals: [Waiter] = []
        var isEmpty: Bool { jobs.isEmpty && signals.isEmpty }
    }

    private enum Token {
        static let stop: UInt64 = 0
        static let arrival: UInt64 = 1
        static let first: UInt64 = 2
    }

    /// How often all that is ready is run before the loop looks at its descriptors again.
    private static let mostPasses = 16

    /// A loop that does not run yet.
    public init() throws(SystemError) {
        let poller = try Poller()
        let arrival = try EventFD()
        try poller.add(arrival.rawValue, token: Token.arrival)
        self.poller = poller
        self.arrival = arrival
        unsafe tasks.loop = self
    }

    // MARK: The executor

    /// Whether the caller is on the loop's thread.
    public var isCurrent: Bool { thread.load(ordering: .relaxed) == UInt(pthread_self()) }

    /// Takes a job of an actor.
    public func enqueue(_ job: consuming ExecutorJob) { add(Job(job: UnownedJob(job), isActors: true)) }

    /// Takes a job of a task.
    fileprivate func enqueue(taskJob: consuming ExecutorJob) { add(Job(job: UnownedJob(taskJob), isActors: false)) }

    private func add(_ job: Job) {
        guard !isCurrent else { return jobs.append(job) }
        let isFirst = inbox.withLock { inbox in
            inbox.jobs.append(job)
            return inbox.jobs.count + inbox.signals.count == 1
        }
        if isFirst { arrival.signal() }
    }

    /// The loop as an executor of actors.
    public func asUnownedSerialExecutor() -> UnownedSerialExecutor { unsafe UnownedSerialExecutor(ordinary: self) }

    /// Traps unless the caller is on the loop's thread.
    public func checkIsolated() { precondition(isCurrent, "used outside the thread of its event loop") }

    /// Signals a waiter from another thread.
    func deliver(_ waiter: Waiter) {
        let isFirst = inbox.withLock { inbox in
            inbox.signals.append(waiter)
            return inbox.jobs.count + inbox.signals.count == 1
        }
        if isFirst { arrival.signal() }
    }

    // MARK: Descriptors

    /// Gives `count` consecutive tokens for the loop's poller, and calls `handler` with their events. On the loop's thread.
    public func reserve(_ count: Int = 1, _ handler: @escaping (PollEvent) -> Void) -> UInt64 {
        checkIsolated()
        let free = handlers.indices.first { start in
            start + count <= handlers.count && handlers[start..<start + count].allSatisfy { $0 == nil }
        }
        let start = free ?? handlers.count
        if free == nil { handlers.append(contentsOf: repeatElement(nil, count: count)) }
        for index in start..<start + count { handlers[index] = handler }
        return Token.first + UInt64(start)
    }

    /// Gives tokens back; their descriptors have left the poller.
    public func release(_ token: UInt64, count: Int = 1) {
        checkIsolated()
        for number in token..<token + UInt64(count) {
            let index = Int(clamping: number) - Int(Token.first)
            if handlers.indices.contains(index) { handlers[index] = nil }
        }
    }

    // MARK: Waiting

    /// Calls `body` with the current thread as the loop's thread.
    public func adopt<Result: ~Copyable, Failure>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
        thread.store(UInt(pthread_self()), ordering: .relaxed)
        defer { thread.store(0, ordering: .relaxed) }
        return try body()
    }

    /// Runs `body` on the loop until `stop` becomes readable and `body` has returned. On the loop's thread: inside `adopt`.
    ///
    /// `stop` ends all waits on the loop; `body` must wait for nothing else, so that it returns then. Its counter is not read.
    public func run(
        until stop: EventFD, for client: any EventLoopClient, _ body: @escaping @Sendable () async -> Void
    ) throws(SystemError) {
        checkIsolated()
        isEnding = false
        isDone = false
        try poller.add(stop.rawValue, token: Token.stop)
        Task(executorPreference: tasks) {
            await body()
            self.isDone = true
        }
        var failure: SystemError?
        var passes = 0
        while true {
            takeInbox()
            runJobs()
            if isDone, isEnding { break }
            // Tasks that keep each other busy cost no system calls, but they do not keep others waiting for long either.
            if !jobs.isEmpty, passes < Self.mostPasses {
                passes += 1
                continue
            }
            passes = 0
            client.loopWillWait()
            do throws(SystemError) {
                if try poll() { end(stop, client) }
            } catch {
                // Nothing can be waited for any more. The task can still return.
                failure = error
                if !isEnding { end(stop, client) }
            }
        }
        if let failure { throw failure }
    }

    /// Ends all waits, and all that will begin.
    private func end(_ stop: EventFD, _ client: any EventLoopClient) {
        try? poller.remove(stop.rawValue)
        isEnding = true
        client.loopEnds()
        while let waiter = waiting.last { wake(waiter, .ended) }
    }

    private func takeInbox() {
        inbox.withLock { inbox in
            guard !inbox.isEmpty else { return }
            jobs.append(contentsOf: inbox.jobs)
            inbox.jobs.removeAll(keepingCapacity: true)
            for waiter in inbox.signals { waiter.signal() }
            inbox.signals.removeAll(keepingCapacity: true)
        }
    }

    /// Runs what is ready now; what becomes ready meanwhile has its turn afterwards.
    private func runJobs() {
        swap(&jobs, &batch)
        var index = 0
        while index < batch.count {
            let next = batch[index]
            index += 1
            if next.isActors {
                unsafe next.job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: tasks.asUnownedTaskExecutor())
            } else {
                unsafe next.job.runSynchronously(on: tasks.asUnownedTaskExecutor())
            }
        }
        batch.removeAll(keepingCapacity: true)
    }

    /// Waits for events; true when one of them is the stop.
    private func poll() throws(SystemError) -> Bool {
        var hasStopped = false
        try poller.wait(timeoutMilliseconds: jobs.isEmpty ? millisecondsLeft() : 0) { event in
            switch event.token {
            case Token.stop: hasStopped = true
            case Token.arrival: arrival.drain()
            default:
                let index = Int(clamping: event.token - Token.first)
                if handlers.indices.contains(index), let handler = handlers[index] { handler(event) }
            }
        }
        wakeThoseWhoseTimeIsUp()
        return hasStopped
    }

    /// A waiter begins to wait.
    func add(_ waiter: Waiter) {
        waiter.place = waiting.count
        waiting.append(waiter)
        if waiter.deadline != nil { timeCount += 1 }
    }

    /// A waiter has waited long enough.
    func wake(_ waiter: Waiter, _ reason: Waiter.Reason) {
        guard waiting.indices.contains(waiter.place), let last = waiting.popLast() else { return }
        if last !== waiter {
            waiting[waiter.place] = last
            last.place = waiter.place
        }
        if waiter.deadline != nil { timeCount -= 1 }
        waiter.resume(reason)
    }

    /// Until the first waiter's time is up, rounded up; nil when none has a limit.
    private func millisecondsLeft() -> Int32? {
        guard timeCount > 0, let first = waiting.lazy.compactMap(\.deadline).min() else { return nil }
        let now = monotonicNanoseconds()
        guard first > now else { return 0 }
        return Int32(clamping: (first - now - 1) / 1_000_000 + 1)
    }

    private func wakeThoseWhoseTimeIsUp() {
        guard timeCount > 0 else { return }
        let now = monotonicNanoseconds()
        var index = waiting.count
        while index > 0 {
            index -= 1
            // Whoever takes the place of one that is woken was looked at before.
            if let deadline = waiting[index].deadline, deadline <= now { wake(waiting[index], .timeIsUp) }
        }
    }
}
