import Host
import Virtqueue

/// Standard output without a buffer, for lines that somebody waits for.
public struct StandardOutput: ~Copyable {
    private let descriptor: OwnedDescriptor?

    /// The standard output of this process.
    public init() { descriptor = try? OwnedDescriptor.duplicating(inherited: 1) }

    /// Writes a line; false when nobody reads any more.
    public borrowing func writeLine(_ line: String) -> Bool {
        let bytes = Array("\(line)\n".utf8)
        var written = 0
        while written < bytes.count {
            guard let count = try? descriptor?.write(bytes.span.extracting(written..<bytes.count).untyped) else { return false }
            written += count
        }
        return true
    }
}
