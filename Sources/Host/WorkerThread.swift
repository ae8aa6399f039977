import CLinux
import Glibc
import Synchronization

/// A thread that owns a state and gives it back when it is stopped.
///
/// A device's worker owns its queues while it runs; sleep and reset get them back from `stop`, so that nothing is ever shared between
/// the thread that works and the thread that configures. The state may be `~Copyable`.
public final class WorkerThread<State: ~Copyable & Sendable>: Sendable {
    private let stopEvent: EventFD
    private let slot: Slot<State>
    private let thread: Mutex<pthread_t?>

    /// Starts a thread called `name` (the kernel keeps 15 bytes of it) that runs `body` on `state`.
    ///
    /// `body` must return soon after its second argument, an eventfd, becomes readable.
    public init(
        name: String, state: consuming State, body: @escaping @Sendable (inout State, _ stop: EventFD) -> Void
    ) throws(SystemError) {
        let stop = try EventFD()
        let slot = Slot(state)
        stopEvent = stop
        self.slot = slot
        let start = ThreadStart(name: name) {
            guard var state = slot.take() else { return }
            body(&state, stop)
            slot.put(state)
        }
        thread = Mutex(try start.run())
    }

    /// Asks the thread to stop, waits for it, and returns its state; nil when it had been stopped before.
    public func stop() -> State? {
        let handle = thread.withLock { thread in
            let handle = thread
            thread = nil
            return handle
        }
        guard let handle else { return nil }
        stopEvent.signal()
        pthread_join(handle, nil)
        return slot.take()
    }

    deinit { _ = stop() }
}

/// A place to hand a `~Copyable` value from one thread to another: an escaping closure cannot consume what it captures.
public final class Slot<Value: ~Copyable & Sendable>: Sendable {
    private let value: Mutex<Value?>

    /// A slot that holds `value`.
    public init(_ value: consuming Value) { self.value = Mutex(consume value) }

    /// A slot that holds nothing yet.
    public init() { value = Mutex(nil) }

    /// Takes the value out; nil when there is none.
    public func take() -> Value? { value.withLock { $0.take() } }

    /// Puts a value in.
    public func put(_ new: consuming Value) {
        var incoming: Value? = consume new
        value.withLock { held in held = incoming.take() }
    }
}

/// Starts threads with all signals blocked but those that a thread causes itself, so that signals go to the thread that handles them, and with
/// a name that `ps` shows.
struct ThreadStart {
    let name: String
    let body: @Sendable () -> Void

    func run() throws(SystemError) -> pthread_t {
        var all = sigset_t()
        var before = sigset_t()
        unsafe sigfillset(&all)
        // What a thread does to itself cannot wait: blocked, a system call that a jail forbids or a trap kills without a word, whoever
        // handles such signals to say one.
        for signal in [SIGSYS, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV] { unsafe sigdelset(&all, signal) }
        unsafe pthread_sigmask(SIG_SETMASK, &all, &before)
        defer { unsafe pthread_sigmask(SIG_SETMASK, &before, nil) }
        let box = unsafe Unmanaged.passRetained(Box(name, body))
        var thread = pthread_t()
        let result = unsafe pthread_create(
            &thread, nil,
            { argument in
                guard let argument = unsafe argument else { return nil }
                let box = unsafe Unmanaged<Box>.fromOpaque(argument).takeRetainedValue()
                unsafe pthread_setname_np(pthread_self(), box.name)
                box.body()
                return nil
            }, box.toOpaque())
        guard result == 0 else {
            unsafe box.release()
            throw SystemError("pthread_create", Errno(rawValue: result))
        }
        return thread
    }

    private final class Box {
        let name: String
        let body: @Sendable () -> Void
        init(_ name: String, _ body: @escaping @Sendable () -> Void) {
            self.name = String(name.utf8.prefix(15)) ?? "swvmm"
            self.body = body
        }
    }
}
