import Synchronization

/// Where news about a device go that come from another process or the kernel, and take a while: its configuration has changed, or it needs a
/// reset.
///
/// What is on its way while the driver resets the device is about the device as it was. A driver that has set it up again since must not hear
/// that it needs another reset. That the configuration has changed it must hear: it may have read it just before.
package final class Announcements: Sendable {
    private struct State {
        var interrupt: Interrupt?
        var moment = Moment(turn: 0)
        /// A change came while nobody listened.
        var isPending = false
    }

    /// When news came: to which driver, or after which and before which.
    package struct Moment: Sendable, Equatable { fileprivate var turn: UInt64 }

    private let state = Mutex(State())

    /// Nobody listens.
    package init() {}

    /// From now on news go there, and a change that came while nobody listened. When this returns, nothing goes any more where it went before.
    ///
    /// A driver that begins anew is one after nil; without, it is the same one, whose device has slept.
    package func go(to interrupt: Interrupt?) {
        state.withLock { state in
            if state.interrupt == nil || interrupt == nil { state.moment.turn &+= 1 }
            state.interrupt = interrupt
            guard let interrupt, state.isPending else { return }
            state.isPending = false
            interrupt.signalConfigurationChange()
        }
    }

    /// To be asked before whatever tells what the news are.
    package var now: Moment { state.withLock { $0.moment } }

    /// Tells whoever listens that the device needs a reset, if it is the one who listened at that moment.
    package func needsReset(since moment: Moment) {
        // With the lock, for `go`. A sink waits for nobody (`InterruptSink`).
        state.withLock { if $0.moment == moment { $0.interrupt?.needsReset() } }
    }

    /// Tells whoever listens, or will be the next to, that the configuration has changed.
    package func configurationChanged() {
        state.withLock { state in
            guard let interrupt = state.interrupt else { return state.isPending = true }
            interrupt.signalConfigurationChange()
        }
    }
}
