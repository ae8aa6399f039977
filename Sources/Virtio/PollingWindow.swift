/// How long a worker goes on looking for work itself before it sleeps. Adapts: whoever is asked again and again within a moment looks for about
/// that long, and whoever waits for longer sleeps at once. Pure: the caller brings the time.
///
/// A worker that looks needs no available buffer notifications (virtio 1.3, 2.7.10), and no scheduler that wakes it: it answers sooner, at the
/// price of processor time.
public struct PollingWindow: Sendable, Equatable {
    /// The longest that the window becomes, in nanoseconds; 0: the worker never looks.
    public let limit: UInt64
    /// How long the worker looks now, in nanoseconds; 0 at first.
    public private(set) var length: UInt64 = 0

    /// Below this it is not worth while to begin, in nanoseconds.
    static let least: UInt64 = 1000

    /// A window of at most `limit` nanoseconds.
    public init(limit: UInt64) { self.limit = limit }

    /// Whether the worker ever looks.
    public var isWanted: Bool { limit > 0 }

    /// Work came only after the window had ended, `nanoseconds` after the worker had run out of it.
    public mutating func adapt(afterWaiting nanoseconds: UInt64) {
        if nanoseconds > limit {
            // One rare request between many close ones shall not cost all that was learnt; but who is idle soon looks no more.
            length /= 4
            if length < Self.least { length = 0 }
        } else if nanoseconds > length {
            // With room for what comes a bit later next time.
            let (sum, overflows) = nanoseconds.addingReportingOverflow(nanoseconds / 2)
            length = overflows ? limit : min(sum, limit)
        }
    }
}
