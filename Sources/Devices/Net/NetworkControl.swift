import Virtio

/// What a control command changes in the data path.
enum NetworkEffect: Sendable, Equatable {
    /// Nothing.
    case none
    /// The receive filter or the address is another.
    case filter
    /// The number of queue pairs in use is another.
    case pairs
    /// The receive offloads are others.
    case offloads
}

/// A control command that the device refuses: VIRTIO_NET_ERR.
struct NetworkCommandError: Error {}

/// Commands of the control queue (virtio 1.3, 5.1.6.5).
extension NetworkPersonality {
    /// The ack byte for success, VIRTIO_NET_OK.
    static let ok: UInt8 = 0
    /// The ack byte for failure, VIRTIO_NET_ERR.
    static let failed: UInt8 = 1
    /// More bytes than any command needs that is not to be refused: class, command and two tables with thousands of addresses.
    static let maxCommandSize = 32768

    /// Carries out one command: class, command, and what belongs to it. Nothing changes when it is refused.
    mutating func execute(_ bytes: [UInt8]) throws(NetworkCommandError) -> NetworkEffect {
        var command = CommandBytes(bytes: bytes)
        switch (try command.byte(), try command.byte()) {
        case (0, 0):
            try require(.netControlReceive)
            filter.promiscuous = try command.flag()
            return .filter
        case (0, 1):
            try require(.netControlReceive)
            filter.allMulticast = try command.flag()
            return .filter
        case (1, 0):
            try require(.netControlReceive)
            let unicast = try command.addresses()
            let multicast = try command.addresses()
            filter.unicast = unicast
            filter.multicast = multicast
            return .filter
        case (1, 1):
            try require(.netControlMAC)
            mac = try command.address()
            return .filter
        case (4, 0):
            try require(.netMultiQueue)
            let count = Int(try command.integer(2))
            guard (1...maxPairs).contains(count) else { throw NetworkCommandError() }
            pairs = count
            return .pairs
        case (5, 0):
            try require(.netControlGuestOffloads)
            let wanted = Features(rawValue: try command.integer(8))
            guard wanted.isSubset(of: negotiated.intersection(.netGuestOffloads)) else { throw NetworkCommandError() }
            guestOffloads = wanted
            return .offloads
        default:
            throw NetworkCommandError()
        }
    }

    private func require(_ feature: Features) throws(NetworkCommandError) {
        guard negotiated.contains(feature) else { throw NetworkCommandError() }
    }
}

/// Takes a command apart from the front.
private struct CommandBytes {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func take(_ count: Int) throws(NetworkCommandError) -> ArraySlice<UInt8> {
        guard count <= bytes.count - position else { throw NetworkCommandError() }
        defer { position += count }
        return bytes[position..<(position + count)]
    }

    mutating func byte() throws(NetworkCommandError) -> UInt8 { UInt8(truncatingIfNeeded: try integer(1)) }

    mutating func integer(_ count: Int) throws(NetworkCommandError) -> UInt64 {
        try take(count).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    mutating func flag() throws(NetworkCommandError) -> Bool {
        let value = try byte()
        guard value <= 1 else { throw NetworkCommandError() }
        return value == 1
    }

    mutating func address() throws(NetworkCommandError) -> MACAddress {
        guard let address = MACAddress(bytes: try take(6)) else { throw NetworkCommandError() }
        return address
    }

    mutating func addresses() throws(NetworkCommandError) -> [MACAddress] {
        let count = Int(try integer(4))
        // Before anything is allocated for it: a count that the command has no room for.
        guard count <= (bytes.count - position) / 6 else { throw NetworkCommandError() }
        var addresses: [MACAddress] = []
        addresses.reserveCapacity(count)
        for _ in 0..<count { addresses.append(try address()) }
        return addresses
    }
}
