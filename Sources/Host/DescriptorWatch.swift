/// Waits on an event loop until one descriptor can be read or written.
///
/// The descriptor must stay open while the watch is there. For the loop's thread, and one task at a time.
public final class DescriptorWatch {
    private let loop: EventLoop
    private let raw: Int32
    private let waiter: Waiter
    private var token: UInt64 = 0
    private var isInSet = false
    private var found: PollEvent?

    /// Watches `raw`; nothing is waited for yet.
    public init(_ raw: Int32, on loop: EventLoop) {
        self.loop = loop
        self.raw = raw
        let waiter = Waiter(loop)
        self.waiter = waiter
        token = loop.reserve { [weak self] event in self?.take(event) }
    }

    private func take(_ event: PollEvent) {
        found = event
        // Reported until somebody looks after it, so it leaves the set until then.
        leave()
        waiter.signal()
    }

    private func leave() {
        if isInSet { try? loop.poller.remove(raw) }
        isInSet = false
    }

    /// Waits until it is ready, has been hung up, or `deadline` of `monotonicNanoseconds()` has passed; nil then, and when the loop ends. A
    /// regular file cannot be waited for (`notPermitted`): it is always ready.
    public func wait(readable: Bool = true, writable: Bool = false, until deadline: UInt64? = nil) async throws(SystemError) -> PollEvent? {
        found = nil
        waiter.take()
        try loop.poller.add(raw, token: token, readable: readable, writable: writable)
        isInSet = true
        let reason = await waiter.wait(until: deadline)
        leave()
        return reason == .signalled ? found : nil
    }

    deinit {
        leave()
        loop.release(token)
    }
}
