/// What GET_INFLIGHT_FD and SET_INFLIGHT_FD say of the memory in which a back-end notes the requests that are in flight (vhost-user,
/// Inflight description).
public struct InFlightDescription: Sendable, Equatable {
    /// Bytes that belong to it.
    public var size: UInt64
    /// Where it begins in its file.
    public var offset: UInt64
    /// The number of queues.
    public var queueCount: UInt16
    /// Entries per queue.
    public var queueSize: UInt16

    /// A description.
    public init(size: UInt64, offset: UInt64, queueCount: UInt16, queueSize: UInt16) {
        self.size = size
        self.offset = offset
        self.queueCount = queueCount
        self.queueSize = queueSize
    }

    init?(_ reader: inout PayloadReader) {
        guard let size = reader.uint64(), let offset = reader.uint64(), let queueCount = reader.uint16(), let queueSize = reader.uint16()
        else { return nil }
        // Some peers send the structure as their compiler lays it out, which is to a multiple of 8 bytes.
        if !reader.isAtEnd, reader.uint32() == nil { return nil }
        self.init(size: size, offset: offset, queueCount: queueCount, queueSize: queueSize)
    }

    func write(to writer: inout PayloadWriter) {
        for value in [size, offset] { writer.append(value) }
        for value in [queueCount, queueSize] { writer.append(value) }
        writer.append(UInt32(0))
    }
}

/// Where the bits lie that tell which pages of the guest the back-end has written (vhost-user, Log description).
public struct LogDescription: Sendable, Equatable {
    /// Bytes that belong to it.
    public var size: UInt64
    /// Where it begins in its file.
    public var offset: UInt64

    /// A description.
    public init(size: UInt64, offset: UInt64) {
        self.size = size
        self.offset = offset
    }

    init?(_ reader: inout PayloadReader) {
        guard let size = reader.uint64(), let offset = reader.uint64() else { return nil }
        self.init(size: size, offset: offset)
    }

    func write(to writer: inout PayloadWriter) { for value in [size, offset] { writer.append(value) } }
}

/// What SET_DEVICE_STATE_FD is to begin (vhost-user, Device state transfer parameters).
public struct DeviceStateTransfer: Sendable, Equatable {
    /// Which way a state goes.
    public enum Direction: UInt32, Sendable {
        /// From the back-end.
        case save = 0
        /// To the back-end.
        case load = 1
    }
    /// Which way the state goes. It does so while all rings are stopped, the only phase that there is.
    public var direction: Direction

    /// A transfer.
    public init(_ direction: Direction) { self.direction = direction }

    /// In the answer: the descriptor that came with the request is the one that is used.
    static let usesYours: UInt64 = 0x100

    init?(_ reader: inout PayloadReader) {
        guard let word = reader.uint32(), let direction = Direction(rawValue: word), reader.uint32() == 0 else { return nil }
        self.init(direction)
    }

    func write(to writer: inout PayloadWriter) {
        writer.append(direction.rawValue)
        writer.append(UInt32(0))
    }
}

/// Why a back-end of ours has refused a state: two lines of text, so that whoever restored it can say where in the document it is wrong.
public struct StateRefusal: Sendable, Equatable {
    /// The JSON path in the device's state; empty for all of it.
    public let path: String
    /// What was expected there.
    public let expectation: String

    /// A refusal.
    public init(path: String, expectation: String) {
        self.path = path
        self.expectation = expectation
    }

    init(_ reader: inout PayloadReader) {
        let lines = reader.rest().split(separator: UInt8(ascii: "\n"), maxSplits: 1, omittingEmptySubsequences: false)
        path = String(decoding: lines.first ?? [], as: UTF8.self)
        expectation = lines.count > 1 ? String(decoding: lines[1], as: UTF8.self) : ""
    }

    func write(to writer: inout PayloadWriter) { writer.append(Array("\(path)\n\(expectation)".utf8)) }
}
