public import Synchronization

/// A number that only grows: one thread counts, any thread reads at any time.
///
/// Counting is a load and a store, not a locked instruction, so two threads must never count at once. A counter may pass from one thread
/// to another together with what is counted: the hand-over orders the two. 2⁶⁴ is out of reach, even in bytes.
public struct Counter: ~Copyable, Sendable {
    @usableFromInline let count = Atomic<UInt64>(0)

    /// Starts at 0.
    public init() {}

    /// Counts `number` more.
    @inlinable public func add(_ number: UInt64 = 1) {
        count.store(count.load(ordering: .relaxed) &+ number, ordering: .relaxed)
    }

    /// What was counted so far. Count before showing the driver what is counted: then whoever has seen the one reads the other.
    public var value: UInt64 { count.load(ordering: .relaxed) }
}

/// The counters of one worker of a device. Only this worker counts in them; they live as long as the device, through every reset and sleep.
///
/// A class, so that worker and device share it. It ends with a `CounterPadding`.
public protocol CounterBlock: AnyObject, Sendable {
    /// What each counter stands at, by the name under which the machine's owner sees it. Each is read on its own: two that belong
    /// together may be a request apart.
    var values: [String: UInt64] { get }
}

/// Room behind the counters of one thread, so that those of another never lie in the same cache line.
public struct CounterPadding: Sendable {
    private let room = InlineArray<8, UInt64>(repeating: 0)

    /// 64 bytes.
    public init() {}
}

extension Sequence where Element: CounterBlock {
    /// The counters of all workers, added up by name.
    public var total: [String: UInt64] {
        reduce(into: [:]) { total, block in total.merge(block.values) { $0 &+ $1 } }
    }
}
