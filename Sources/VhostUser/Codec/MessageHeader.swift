/// What every message begins with: 12 bytes in the host's byte order (vhost-user, Header).
public struct MessageHeader: Sendable, Equatable {
    /// Size of a header in bytes.
    public static let byteCount = 12
    /// The most bytes of payload that are taken; the largest message in use, a configuration space, has 268.
    public static let mostPayload = 4096

    /// The request that this is, or that it answers.
    public var request: UInt32
    /// Whether this is an answer.
    public var isReply: Bool
    /// Whether an answer is wanted that says how it went (REPLY_ACK).
    public var needsReply: Bool
    /// Bytes of payload that follow (0 … `mostPayload`).
    public var size: Int

    /// A header.
    public init(request: UInt32, isReply: Bool = false, needsReply: Bool = false, size: Int) {
        self.request = request
        self.isReply = isReply
        self.needsReply = needsReply
        self.size = size
    }

    private enum Flags {
        static let version: UInt32 = 1
        static let versionMask: UInt32 = 3
        static let reply: UInt32 = 1 << 2
        static let needReply: UInt32 = 1 << 3
    }

    /// Reads a header. Flags that are not defined are ignored, as the protocol asks.
    public init(_ bytes: Span<UInt8>) throws(VhostUserError) {
        var reader = PayloadReader(bytes)
        guard let request = reader.uint32(), let flags = reader.uint32(), let size = reader.uint32(), reader.isAtEnd else {
            throw .violation("A header has \(Self.byteCount) bytes, not \(bytes.count).")
        }
        guard flags & Flags.versionMask == Flags.version else {
            throw .violation("A message has version \(flags & Flags.versionMask); expected 1.")
        }
        guard size <= UInt32(Self.mostPayload) else {
            throw .violation("A message announces \(size) bytes of payload; expected at most \(Self.mostPayload).")
        }
        self.init(
            request: request, isReply: flags & Flags.reply != 0, needsReply: flags & Flags.needReply != 0, size: Int(size))
    }

    /// The header as bytes.
    public var bytes: [UInt8] {
        var writer = PayloadWriter()
        writer.append(request)
        writer.append(Flags.version | (isReply ? Flags.reply : 0) | (needsReply ? Flags.needReply : 0))
        writer.append(UInt32(truncatingIfNeeded: size))
        return writer.bytes
    }
}
