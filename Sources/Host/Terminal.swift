import CLinux
import Glibc

/// The size of a terminal in characters.
public struct WindowSize: Sendable, Equatable {
    /// Characters in a line.
    public var columns: UInt16
    /// Lines.
    public var rows: UInt16

    /// A size.
    public init(columns: UInt16, rows: UInt16) {
        self.columns = columns
        self.rows = rows
    }
}

extension OwnedDescriptor {
    /// Whether the descriptor is a terminal.
    public borrowing func isTerminal() -> Bool { isatty(rawValue) == 1 }

    /// The size of the terminal; nil when it is none, or does not know.
    public borrowing func windowSize() -> WindowSize? {
        var columns: UInt16 = 0
        var rows: UInt16 = 0
        guard unsafe swv_window_size(rawValue, &columns, &rows) == 0, columns > 0, rows > 0 else { return nil }
        return WindowSize(columns: columns, rows: rows)
    }

    /// Tells a terminal its size; whoever runs on it gets SIGWINCH.
    public borrowing func setWindowSize(_ size: WindowSize) throws(SystemError) {
        let raw = rawValue
        _ = try retryingOnInterrupt("TIOCSWINSZ") { swv_set_window_size(raw, size.columns, size.rows) }
    }

    /// Sets a terminal (one end of a pseudo-terminal) to raw mode for good: bytes pass unchanged.
    public borrowing func makeRaw() throws(SystemError) {
        var mode = termios()
        let raw = rawValue
        _ = try retryingOnInterrupt("tcgetattr") { unsafe tcgetattr(raw, &mode) }
        unsafe swv_termios_make_raw(&mode, 0)
        _ = try retryingOnInterrupt("tcsetattr") { unsafe tcsetattr(raw, TCSANOW, &mode) }
    }

    /// Drops what was written to the other end of this terminal and not read yet.
    public borrowing func discardUnreadInput() {
        _ = tcflush(rawValue, TCIFLUSH)
    }

    /// Another open file for what a standard stream of this process leads to, so that its flags are not shared with whoever started the
    /// process (a shell would be surprised to find its terminal non-blocking). A socket cannot be opened again: it is duplicated. So is a
    /// regular file: opened again it would be written from its beginning, over what others have written before and meanwhile.
    ///
    /// `flags` are `O_…` flags.
    public static func reopeningStandardStream(_ raw: Int32, flags: Int32) throws(SystemError) -> OwnedDescriptor {
        do throws(SystemError) {
            // Opening a named pipe would wait for somebody at its other end, who may have left already: it is duplicated, too.
            var status = stat()
            if unsafe fstat(raw, &status) == 0, [S_IFIFO, S_IFREG].contains(status.st_mode & S_IFMT) {
                throw SystemError("open", .noDeviceOrAddress)
            }
            return try open("/proc/self/fd/\(raw)", flags: flags | O_NOCTTY)
        } catch {
            return OwnedDescriptor(owning: try retryingOnInterrupt("dup") { fcntl(raw, F_DUPFD_CLOEXEC, 3) })
        }
    }
}

/// A terminal in raw mode, for as long as this value lives: bytes pass unchanged and nothing is echoed.
///
/// The mode from before comes back when the value goes, also when the process dies of a fault (not of SIGKILL). At most one lives at a
/// time.
public struct TerminalMode: ~Copyable, Sendable {
    private let descriptor: OwnedDescriptor
    private let before: SavedTerminalMode

    /// Sets the terminal to raw mode. ENOTTY when the descriptor is no terminal.
    public init(raw terminal: consuming OwnedDescriptor) throws(SystemError) {
        before = try Self.enterRawMode(terminal.rawValue)
        descriptor = terminal
    }

    private static func enterRawMode(_ raw: Int32) throws(SystemError) -> SavedTerminalMode {
        var mode = termios()
        _ = try retryingOnInterrupt("tcgetattr") { unsafe tcgetattr(raw, &mode) }
        let saved = SavedTerminalMode(mode: mode)
        unsafe swv_terminal_guard(raw, &mode)
        // Newlines are still translated on output: our own messages come without carriage returns, and one too many does no harm.
        unsafe swv_termios_make_raw(&mode, 1)
        do throws(SystemError) {
            _ = try retryingOnInterrupt("tcsetattr") { unsafe tcsetattr(raw, TCSANOW, &mode) }
        } catch {
            swv_terminal_unguard()
            throw error
        }
        return saved
    }

    /// The terminal's size; nil when it does not know.
    public borrowing func windowSize() -> WindowSize? { descriptor.windowSize() }

    deinit {
        swv_terminal_unguard()
        var mode = before.mode
        unsafe _ = tcsetattr(descriptor.rawValue, TCSANOW, &mode)
    }
}

// Sendable: plain numbers.
private struct SavedTerminalMode: @unchecked Sendable {
    let mode: termios
}

/// A pseudo-terminal in raw mode: what is written to one end is read from the other.
@frozen public struct PseudoTerminal: ~Copyable, Sendable {
    /// Our end.
    public let controller: OwnedDescriptor
    /// The end that a person's program opens too. Kept open here, so that our end works before the first such program comes.
    public let terminal: OwnedDescriptor
    /// Where the other end is found; empty when somebody else has made it.
    public let path: String

    /// A pseudo-terminal that somebody else has made.
    public init(controller: consuming OwnedDescriptor, terminal: consuming OwnedDescriptor) {
        self.controller = controller
        self.terminal = terminal
        path = ""
    }

    /// Turns a freshly opened `/dev/ptmx` into a pseudo-terminal.
    public init(_ multiplexer: consuming OwnedDescriptor) throws(SystemError) {
        let raw = multiplexer.rawValue
        _ = try retryingOnInterrupt("TIOCSPTLCK") { swv_pty_unlock(raw) }
        let number = try retryingOnInterrupt("TIOCGPTN") { swv_pty_number(raw) }
        let flags = O_RDWR | O_NOCTTY | O_CLOEXEC
        let peer = OwnedDescriptor(owning: try retryingOnInterrupt("TIOCGPTPEER") { swv_pty_open_peer(raw, flags) })
        try peer.makeRaw()
        controller = multiplexer
        terminal = peer
        path = "/dev/pts/\(number)"
    }
}
