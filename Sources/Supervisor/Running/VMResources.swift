import Host

/// What the supervisor keeps for a VM while it runs.
final class VMResources: Sendable {
    let serial: SerialHost
    let terminal: TerminalStream?
    private let helpers: [PasstProcess]
    /// Sockets that were made for the VM.
    private let paths: [String]

    init(serial: SerialHost, terminal: TerminalStream?, helpers: [PasstProcess], paths: [String]) {
        self.paths = paths
        self.serial = serial
        self.terminal = terminal
        self.helpers = helpers
    }

    /// Ends the VM's helpers and lets its last words go out.
    func finish() {
        serial.drain(milliseconds: 500)
        terminal?.finish()
        for helper in helpers { helper.stop() }
        for path in paths { removeFile(path) }
    }
}
