import Schema
import Virtio

/// The half of a network device that the driver configures: features, configuration space, and what the control queue set.
///
/// A value without side effects: what a command means for the data path comes back as a `NetworkEffect`.
struct NetworkPersonality: Sendable, Equatable {
    /// The address that the device was made with.
    let factoryMAC: MACAddress
    /// The MTU told to the driver; nil tells none.
    let mtu: UInt16?
    /// The number of queue pairs that the device has.
    let maxPairs: Int
    /// The feature bits on offer.
    let offered: Features

    /// What was negotiated.
    var negotiated: Features = []
    /// The address of the device.
    var mac: MACAddress
    /// The number of queue pairs in use, from 1.
    var pairs = 1
    /// Which frames the driver wants.
    var filter = ReceiveFilter()
    /// The receive offloads that are on.
    var guestOffloads: Features = []
    /// Whether the link is up.
    var linkUp = true

    /// The state after a reset. `offloads` are those that the back-end can do.
    init(mac: MACAddress, mtu: UInt16?, maxPairs: Int, packedRing: Bool, offloads: Features) {
        factoryMAC = mac
        self.mac = mac
        self.mtu = mtu
        self.maxPairs = maxPairs
        var features: Features = [
            .ours, .netMAC, .netStatus, .netMergeableBuffers, .netControlQueue, .netControlReceive, .netControlMAC,
        ]
        features.formUnion(offloads)
        if offloads.contains(.netGuestChecksum) { features.insert(.netControlGuestOffloads) }
        if mtu != nil { features.insert(.netMTU) }
        if maxPairs > 1 { features.insert(.netMultiQueue) }
        if packedRing { features.insert(.ringPacked) }
        offered = features
    }

    /// The state after a reset of a device whose data path is somebody else's, who offers `features` and gets to know nothing but which pairs
    /// are in use.
    init(mac: MACAddress, mtu: UInt16?, maxPairs: Int, beside features: Features) {
        factoryMAC = mac
        self.mac = mac
        self.mtu = mtu
        self.maxPairs = maxPairs
        var offered = features.subtracting(.netControl.union(.netFrontEnd))
        offered.formUnion([.netMAC, .netStatus, .netControlQueue, .netControlReceive, .netControlMAC])
        if mtu != nil { offered.insert(.netMTU) }
        if maxPairs > 1 { offered.insert(.netMultiQueue) }
        self.offered = offered
    }

    /// Two queues for each pair and the control queue.
    var queueCount: Int { 2 * maxPairs + 1 }

    /// Where the control queue stands: behind all pairs, or behind the first when only one pair was negotiated (virtio 1.3, 5.1.2).
    var controlQueue: Int { negotiated.contains(.netMultiQueue) ? 2 * maxPairs : 2 }

    /// Takes note of the negotiated features; every offload that was negotiated is on (5.1.6.5.6.1).
    mutating func acknowledge(_ features: Features) {
        negotiated = features.intersection(offered)
        guestOffloads = negotiated.intersection(.netGuestOffloads)
        // Drivers cannot have the one without the other; a vhost-user front-end has the control queue itself, and starts the pairs it wants.
        if negotiated.contains(.netMultiQueue), !negotiated.contains(.netControlQueue) { pairs = maxPairs }
    }

    /// Forgets what the driver set.
    mutating func reset() {
        negotiated = []
        mac = factoryMAC
        pairs = 1
        filter = ReceiveFilter()
        guestOffloads = []
    }

    /// struct virtio_net_config up to the MTU (virtio 1.3, 5.1.4); all of it is read-only.
    var configurationSpace: [UInt8] {
        let status: UInt16 = linkUp ? 1 : 0
        var bytes = mac.bytes
        for value in [status, UInt16(clamping: maxPairs), mtu ?? 0] {
            bytes.append(UInt8(truncatingIfNeeded: value))
            bytes.append(UInt8(truncatingIfNeeded: value >> 8))
        }
        return bytes
    }
}

// MARK: Saved state

extension NetworkPersonality {
    /// What the driver set, as names and numbers.
    func snapshot() -> JSONValue {
        [
            "features": .hex(negotiated.rawValue),
            "mac": .string(mac.description),
            "queuePairs": .integer(Int64(pairs)),
            "guestOffloads": .hex(guestOffloads.rawValue),
            "promiscuous": .bool(filter.promiscuous),
            "allMulticast": .bool(filter.allMulticast),
            "unicast": .array(filter.unicast.map { .string($0.description) }),
            "multicast": .array(filter.multicast.map { .string($0.description) }),
        ]
    }

    /// Takes over what `snapshot` gave; an error for anything that this device cannot have been set to.
    mutating func restore(_ state: SavedValue) throws(StateError) {
        let before = self
        self = try state.read { (fields) throws(StateError) in
            var new = before
            new.negotiated = try Self.features(fields["features"], subsetOf: before.offered)
            new.guestOffloads = try Self.features(fields["guestOffloads"], subsetOf: new.negotiated.intersection(.netGuestOffloads))
            new.mac = try Self.address(fields["mac"])
            new.pairs = try fields.integer("queuePairs", in: 1...(new.negotiated.contains(.netMultiQueue) ? before.maxPairs : 1))
            new.filter.promiscuous = try fields.bool("promiscuous")
            new.filter.allMulticast = try fields.bool("allMulticast")
            new.filter.unicast = try fields.array("unicast", count: 0...Self.maxCommandSize / 6, Self.address)
            new.filter.multicast = try fields.array("multicast", count: 0...Self.maxCommandSize / 6, Self.address)
            return new
        }
    }

    /// What a data path in another process needs to know of this. Filters that are too long to be compared one by one let everything pass,
    /// as they do here.
    var followed: JSONValue {
        let tooMany = filter.unicast.count > ReceiveFilter.maxEntries
        let tooManyGroups = filter.multicast.count > ReceiveFilter.maxEntries
        return [
            "mac": .string(mac.description),
            "queuePairs": .integer(Int64(pairs)),
            "guestOffloads": .hex(guestOffloads.rawValue),
            "promiscuous": .bool(filter.promiscuous || tooMany),
            "allMulticast": .bool(filter.allMulticast || tooManyGroups),
            "unicast": .array(tooMany ? [] : filter.unicast.map { .string($0.description) }),
            "multicast": .array(tooManyGroups ? [] : filter.multicast.map { .string($0.description) }),
        ]
    }

    /// Takes over what `followed` says.
    mutating func follow(_ state: SavedValue) throws(StateError) {
        let before = self
        self = try state.read { (fields) throws(StateError) in
            var new = before
            new.guestOffloads = try Self.features(fields["guestOffloads"], subsetOf: before.offered.intersection(.netGuestOffloads))
            new.mac = try Self.address(fields["mac"])
            new.pairs = try fields.integer("queuePairs", in: 1...before.maxPairs)
            new.filter.promiscuous = try fields.bool("promiscuous")
            new.filter.allMulticast = try fields.bool("allMulticast")
            new.filter.unicast = try fields.array("unicast", count: 0...ReceiveFilter.maxEntries, Self.address)
            new.filter.multicast = try fields.array("multicast", count: 0...ReceiveFilter.maxEntries, Self.address)
            return new
        }
    }

    private static func features(_ saved: SavedValue, subsetOf allowed: Features) throws(StateError) -> Features {
        let features = Features(rawValue: try saved.hex())
        guard features.isSubset(of: allowed) else {
            let found = String(features.rawValue, radix: 16)
            throw saved.error(expected: "a subset of 0x\(String(allowed.rawValue, radix: 16)), found 0x\(found)")
        }
        return features
    }

    private static func address(_ saved: SavedValue) throws(StateError) -> MACAddress {
        let text = try saved.string()
        guard let address = MACAddress(text) else { throw saved.error(expected: "a MAC address, found \"\(text)\"") }
        return address
    }
}
