import Host

/// What the supervisor keeps for a VM while it runs.
final class VMResources: Sendable {
    let terminal: TerminalStream?
    /// The processes of devices.
    let keeper: DeviceKeeper
    private let helpers: [PasstProcess]
    private let lateHelpers: HelperList
    /// Sockets that were made for the VM.
    private let sockets: [NamedSocket]

    init(
        terminal: TerminalStream?, helpers: [PasstProcess], lateHelpers: HelperList, keeper: DeviceKeeper, sockets: [NamedSocket]
    ) {
        self.keeper = keeper
        self.lateHelpers = lateHelpers
        self.sockets = sockets
        self.terminal = terminal
        self.helpers = helpers
    }

    /// Ends the VM's helpers and lets its last words go out.
    func finish() {
        // Nobody new is to come.
        for socket in sockets { socket.remove() }
        // Its processes before the terminal: a console's may still have something to write.
        keeper.stop()
        terminal?.finish()
        for helper in helpers { helper.stop() }
        lateHelpers.stop()
    }
}
