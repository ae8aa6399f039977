/// A number and the queue that it is about: the payload of SET_VRING_NUM, _BASE and _ENABLE.
public struct RingState: Sendable, Equatable {
    /// The queue.
    public var index: UInt32
    /// The number.
    public var value: UInt32

    /// A state.
    public init(index: UInt32, value: UInt32) {
        self.index = index
        self.value = value
    }

    init?(_ reader: inout PayloadReader) {
        guard let index = reader.uint32(), let value = reader.uint32() else { return nil }
        self.init(index: index, value: value)
    }

    func write(to writer: inout PayloadWriter) {
        writer.append(index)
        writer.append(value)
    }
}

/// Where the parts of a queue lie, in addresses of the front-end's process (SET_VRING_ADDR).
public struct RingAddresses: Sendable, Equatable {
    /// The queue.
    public var index: UInt32
    /// Bit 0: writes to the ring are logged.
    public var flags: UInt32
    /// The descriptor area.
    public var descriptorArea: UInt64
    /// The device area ("used ring").
    public var deviceArea: UInt64
    /// The driver area ("available ring").
    public var driverArea: UInt64
    /// The guest address under which writes to the device area are logged.
    public var log: UInt64
    /// Bit 0 of the flags: the log address is meant (VHOST_VRING_F_LOG).
    static let isLogged: UInt32 = 1

    /// Addresses.
    public init(index: UInt32, flags: UInt32 = 0, descriptorArea: UInt64, deviceArea: UInt64, driverArea: UInt64, log: UInt64 = 0) {
        self.index = index
        self.flags = flags
        self.descriptorArea = descriptorArea
        self.deviceArea = deviceArea
        self.driverArea = driverArea
        self.log = log
    }

    init?(_ reader: inout PayloadReader) {
        guard let index = reader.uint32(), let flags = reader.uint32(), let descriptor = reader.uint64(), let used = reader.uint64(),
            let available = reader.uint64(), let log = reader.uint64()
        else { return nil }
        self.init(index: index, flags: flags, descriptorArea: descriptor, deviceArea: used, driverArea: available, log: log)
    }

    func write(to writer: inout PayloadWriter) {
        for value in [index, flags] { writer.append(value) }
        for value in [descriptorArea, deviceArea, driverArea, log] { writer.append(value) }
    }
}

/// A part of the guest's RAM, as the front-end has it mapped (vhost-user, Memory region description).
public struct MemoryRegionDescription: Sendable, Equatable {
    /// Guest physical address.
    public var guestAddress: UInt64
    /// Size in bytes.
    public var size: UInt64
    /// Where the front-end's process has it: ring addresses refer to this.
    public var userAddress: UInt64
    /// Where it begins in its file.
    public var fileOffset: UInt64

    /// A description.
    public init(guestAddress: UInt64, size: UInt64, userAddress: UInt64, fileOffset: UInt64) {
        self.guestAddress = guestAddress
        self.size = size
        self.userAddress = userAddress
        self.fileOffset = fileOffset
    }

    static let byteCount = 32

    init?(_ reader: inout PayloadReader) {
        guard let guest = reader.uint64(), let size = reader.uint64(), let user = reader.uint64(), let offset = reader.uint64() else {
            return nil
        }
        self.init(guestAddress: guest, size: size, userAddress: user, fileOffset: offset)
    }

    func write(to writer: inout PayloadWriter) {
        for value in [guestAddress, size, userAddress, fileOffset] { writer.append(value) }
    }
}

/// A stretch of configuration space (GET_CONFIG, SET_CONFIG).
public struct ConfigurationAccess: Sendable, Equatable {
    /// The end of any configuration space, in bytes.
    public static let end: UInt32 = 4096 - 12

    /// Where it begins.
    public var offset: UInt32
    /// 0 for a write by the driver, 1 for one by a migration.
    public var flags: UInt32
    /// The bytes; in a question only their number counts.
    public var bytes: [UInt8]

    /// An access.
    public init(offset: UInt32, flags: UInt32 = 0, bytes: [UInt8]) {
        self.offset = offset
        self.flags = flags
        self.bytes = bytes
    }

    /// `mayLackBytes`: a question may come without the bytes that its answer fills.
    init?(_ reader: inout PayloadReader, mayLackBytes: Bool = false) {
        guard let offset = reader.uint32(), let size = reader.uint32(), let flags = reader.uint32(), size <= Self.end,
            offset <= Self.end - size
        else { return nil }
        let bytes = reader.rest()
        let isMissing = mayLackBytes && bytes.isEmpty
        guard bytes.count == Int(size) || isMissing else { return nil }
        self.init(offset: offset, flags: flags, bytes: isMissing ? Array(repeating: 0, count: Int(size)) : bytes)
    }

    func write(to writer: inout PayloadWriter) {
        writer.append(offset)
        writer.append(UInt32(truncatingIfNeeded: bytes.count))
        writer.append(flags)
        writer.append(bytes)
    }
}

/// A descriptor that is to serve a queue, or the absence of one (SET_VRING_KICK, _CALL and _ERR).
public struct RingDescriptor: Sendable, Equatable {
    /// The queue.
    public var index: UInt32
    /// Whether a descriptor came along; without one, the other side polls.
    public var isPresent: Bool

    /// A descriptor of a queue.
    public init(index: UInt32, isPresent: Bool) {
        self.index = index
        self.isPresent = isPresent
    }

    init(_ word: UInt64) { self.init(index: UInt32(word & 0xff), isPresent: word & 0x100 == 0) }
    var word: UInt64 { UInt64(index & 0xff) | (isPresent ? 0 : 0x100) }
}
