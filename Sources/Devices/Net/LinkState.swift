import Synchronization

/// What the threads of one network device share: set by the personality, read by the queue pairs once for each batch.
final class LinkState: Sendable {
    private struct Wanted {
        var filter = ReceiveFilter()
        var own: MACAddress
    }

    private let wanted: Mutex<Wanted>
    private let version = Atomic<Int>(0)
    /// Whether the driver takes packets whose checksum is not complete; if not, header flags must be zero (5.1.6.4.1).
    let takesUnfinished = Atomic(false)
    /// Whether the other end is there.
    let isUp = Atomic(true)

    init(own: MACAddress) { wanted = Mutex(Wanted(own: own)) }

    func set(_ filter: ReceiveFilter, own: MACAddress) {
        wanted.withLock { $0 = Wanted(filter: filter, own: own) }
        version.add(1, ordering: .releasing)
    }

    /// A thread's own copy of the filter.
    struct View: Sendable {
        fileprivate var filter = ReceiveFilter()
        fileprivate var own = MACAddress(value: 0)
        fileprivate var version = -1

        /// Whether a frame to `destination` passes.
        func accepts(_ destination: MACAddress) -> Bool { filter.accepts(destination, own: own) }
    }

    /// Brings a view up to date.
    func refresh(_ view: inout View) {
        let current = version.load(ordering: .acquiring)
        guard view.version != current else { return }
        let wanted = self.wanted.withLock { $0 }
        view = View(filter: wanted.filter, own: wanted.own, version: current)
    }
}
