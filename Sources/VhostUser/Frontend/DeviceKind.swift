import Virtio

// The protocol does not say what kind of device a back-end serves. What it offers may tell that it is not the one that is looked for.

extension DeviceType {
    /// Queues of a device of this kind that says nothing of their number.
    var leastQueueCount: Int { self == .network || self == .console || self == .fileSystem ? 2 : 1 }

    /// Refuses features that no device of this kind has, or not without others (virtio 1.3, 5.1.3 to 5.4.3 and 5.11.3).
    func checkKind(_ offered: Features) throws(VhostUserError) {
        let strange = offered.intersection(.ofDevices).subtracting(known).union(orphans(in: offered))
        guard strange.isEmpty else {
            let bits = String(strange.rawValue, radix: 16)
            throw VhostUserError(
                .device, "The back-end offers features that no such device has (0x\(bits)): it serves another kind of device.")
        }
    }

    /// The bits below 24 that have a meaning for this kind.
    private var known: Features {
        switch self {
        case .network: Features.ofDevices.subtracting(Features(bit: 4))
        case .block: Features.ofDevices.subtracting([3, 8, 18, 19, 20, 21, 22, 23].bits)
        case .console: [0, 1, 2].bits
        case .fileSystem: Features(bit: 0)
        case .entropy: []
        default: .ofDevices
        }
    }

    /// Offloads of a network device that others are missing for (virtio 1.3, 5.1.3.1).
    private func orphans(in offered: Features) -> Features {
        guard self == .network else { return [] }
        let requirements: [(UInt8, Features)] = [
            (7, Features(bit: 1)), (8, Features(bit: 1)), (9, [7, 8].bits), (10, Features(bit: 1)),
            (11, Features(bit: 0)), (12, Features(bit: 0)), (13, [11, 12].bits), (14, Features(bit: 0)),
        ]
        var orphans: Features = []
        for (bit, needed) in requirements where offered.contains(Features(bit: bit)) && offered.isDisjoint(with: needed) {
            orphans.insert(Features(bit: bit))
        }
        return orphans
    }
}

extension Features {
    /// Bits 0 to 23: those of the kind of device (virtio 1.3, 2.2).
    fileprivate static let ofDevices = Features(rawValue: (1 << 24) - 1)
    /// Bits 24 to 49: those of rings and transports.
    static let notOfDevices = Features(rawValue: (1 << 50) - (1 << 24))
}

extension [UInt8] {
    fileprivate var bits: Features { reduce(into: []) { $0.insert(Features(bit: $1)) } }
}
