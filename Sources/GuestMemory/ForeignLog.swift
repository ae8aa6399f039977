/// Where another process wants to read what is written to RAM that it made: a vhost-user front-end's dirty log.
public struct ForeignLog: Sendable, Equatable {
    /// A stretch of RAM that is noted under another address as well as under its own.
    public struct Alias: Sendable, Equatable {
        /// Where it lies.
        public let guestAddress: UInt64
        /// How many bytes it has.
        public let size: UInt64
        /// What its first byte is noted as.
        public let logAddress: UInt64

        /// An alias.
        public init(guestAddress: UInt64, size: UInt64, logAddress: UInt64) {
            self.guestAddress = guestAddress
            self.size = size
            self.logAddress = logAddress
        }
    }

    let bitmap: WriteBitmap
    let aliases: [Alias]

    /// A log in `bitmap`.
    public init(_ bitmap: WriteBitmap, aliases: [Alias] = []) {
        self.bitmap = bitmap
        self.aliases = aliases
    }

    /// Whether both are the same bits and addresses.
    public static func == (one: ForeignLog, other: ForeignLog) -> Bool { one.bitmap === other.bitmap && one.aliases == other.aliases }
}
