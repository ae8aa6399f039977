import Host

/// One descriptor's place in a `Poller`: tells the kernel only when something changes, and leaves the set when nothing is waited for,
/// because hang-ups are reported whether one waits for them or not.
struct PollInterest: Sendable {
    private let raw: Int32
    private let token: UInt64
    private var current: Wanted?
    /// The descriptor cannot be waited for (a regular file): it is always ready.
    private(set) var isAlwaysReady = false

    private struct Wanted: Equatable {
        let readable: Bool
        let writable: Bool
    }

    init(_ raw: Int32, token: UInt64) {
        self.raw = raw
        self.token = token
    }

    /// Waits for these from now on. With `hangUps` the descriptor stays in the set when it is waited for neither reading nor writing, so that
    /// its end is reported.
    mutating func update(_ poller: borrowing Poller, readable: Bool, writable: Bool, hangUps: Bool = false) throws(SystemError) {
        let wanted = readable || writable || hangUps ? Wanted(readable: readable, writable: writable) : nil
        guard wanted != current, !isAlwaysReady else { return }
        do throws(SystemError) {
            if wanted == nil {
                try poller.remove(raw)
            } else if current != nil {
                try poller.modify(raw, token: token, readable: readable, writable: writable)
            } else {
                try poller.add(raw, token: token, readable: readable, writable: writable)
            }
        } catch {
            guard error.errno == .notPermitted else { throw error }
            isAlwaysReady = true
            return
        }
        current = wanted
    }
}
