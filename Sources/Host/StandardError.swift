import Glibc

/// Standard error, for messages to a person.
public enum StandardError {
    /// Writes a text in one call; what cannot be written (a closed pipe, a full disk) is lost, because there is nowhere else to say so.
    public static func write(_ text: String) {
        var text = text
        _ = text.withUTF8 { bytes in unsafe Glibc.write(2, bytes.baseAddress, bytes.count) }
    }

    /// Whether standard error is a terminal.
    public static var isTerminal: Bool { isatty(2) == 1 }
}

/// Ends the process, after everything that was printed has gone out.
public func leave(with code: Int32) -> Never { exit(code) }
