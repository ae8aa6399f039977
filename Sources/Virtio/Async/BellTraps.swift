import Host

/// The doorbells of a device as a stream of queue numbers, for a device that wants to know them before its streams do. It passes them on with
/// `RunningDevice.notifyQueue`, or gives the traps to `RunningDevice.runDeviceNotify`. Once they are dropped, the runtime passes doorbells on.
public struct BellTraps: ~Copyable {
    private let bells: Bells

    init(_ bells: Bells) {
        self.bells = bells
        bells.isTrapped = true
    }

    deinit { bells.isTrapped = false }

    /// The next queue whose doorbell was rung, once for any number of rings since it was given last; nil when the device is being stopped.
    public mutating func next() async -> Int? {
        while bells.rung.isEmpty {
            guard await bells.waiter.wait() != .ended else { return nil }
        }
        return bells.rung.removeFirst()
    }
}

@available(*, unavailable)
extension BellTraps: Sendable {}

/// Doorbells that were rung and that nobody has looked at. For the loop's thread.
final class Bells {
    let waiter: Waiter
    var isTrapped = false
    var wereTaken = false
    /// Each queue at most once.
    var rung: [Int] = []

    init(on loop: EventLoop) { waiter = Waiter(loop) }

    func ring(_ queue: Int) {
        if !rung.contains(queue) { rung.append(queue) }
        waiter.signal()
    }
}
