import Host

/// What the supervisor keeps for a VM while it runs.
final class VMResources: Sendable {
    let terminal: TerminalStream?
    /// The processes of devices.
    let keeper: DeviceKeeper
    private let helpers: [PasstProcess]
    private let lateHelpers: HelperList
    /// Sockets that were made for the VM.
    private let paths: [String]

    init(
        terminal: TerminalStream?, helpers: [PasstProcess], lateHelpers: HelperList, keeper: DeviceKeeper, paths: [String]
    ) {
        self.keeper = keeper
        self.lateHelpers = lateHelpers
        self.paths = paths
        self.terminal = terminal
        self.helpers = helpers
    }

    /// Ends the VM's helpers and lets its last words go out.
    func finish() {
        // Its processes first: a console's may still have something to write.
        keeper.stop()
        terminal?.finish()
        for helper in helpers { helper.stop() }
        lateHelpers.stop()
        for path in paths { removeFile(path) }
    }
}
