import Hypervisor

/// One entry of the I/O APIC's redirection table: what becomes of an interrupt at this pin (82093AA data sheet, 3.2.4).
struct RedirectionEntry: Equatable, Sendable {
    /// How the interrupt is delivered (bits 10:8). The names are those of a snapshot.
    enum DeliveryMode: String, CaseIterable {
        case fixed, lowestPriority, smi, reserved3, nmi, initialize, reserved6, external
    }

    /// Delivery status (12) and Remote IRR (14) are read-only; 17…55 are reserved.
    private static let writable: UInt64 = 0xFF00_0000_0001_AFFF
    private static let levelBit: UInt64 = 1 << 15
    private static let maskBit: UInt64 = 1 << 16

    /// The register pair as the guest reads it, without Remote IRR. Delivery status is always idle: a message is sent at once.
    private var bits: UInt64

    /// Bit 14: a local APIC has accepted the level interrupt and has not yet ended it. Only ever set while `endsByEOI`.
    var remoteIRR = false

    /// Out of reset: masked, everything else 0.
    init() { bits = Self.maskBit }

    /// An entry from its parts.
    init(
        vector: UInt8, delivery: DeliveryMode, isLogical: Bool, isActiveLow: Bool, isLevel: Bool, isMasked: Bool, destination: UInt8
    ) {
        let mode = UInt64(DeliveryMode.allCases.firstIndex(of: delivery) ?? 0)
        bits = UInt64(vector) | mode << 8 | UInt64(destination) << 56
        if isLogical { bits |= 1 << 11 }
        if isActiveLow { bits |= 1 << 13 }
        if isLevel { bits |= Self.levelBit }
        if isMasked { bits |= Self.maskBit }
    }

    /// The interrupt vector (7:0).
    var vector: UInt8 { UInt8(truncatingIfNeeded: bits) }
    /// The delivery mode (10:8).
    var delivery: DeliveryMode { DeliveryMode.allCases[Int(bits >> 8 & 7)] }
    /// The destination is a logical set of processors, not one APIC id (11).
    var isLogical: Bool { bits & 1 << 11 != 0 }
    /// The pin's polarity (13). Lines here know asserted and not asserted, so it is kept for the guest and changes nothing.
    var isActiveLow: Bool { bits & 1 << 13 != 0 }
    /// Level-triggered (15).
    var isLevel: Bool { bits & Self.levelBit != 0 }
    /// Masked (16).
    var isMasked: Bool { bits & Self.maskBit != 0 }
    /// APIC id or logical set (63:56).
    var destination: UInt8 { UInt8(truncatingIfNeeded: bits >> 56) }

    /// The register pair.
    var rawValue: UInt64 { bits | (remoteIRR ? 1 << 14 : 0) }

    /// Writes the low or the high register of the pair.
    ///
    /// Switching to edge clears Remote IRR: Linux ends interrupts in this way on chips without an EOI register.
    mutating func write(_ value: UInt32, high: Bool) {
        let shift: UInt64 = high ? 32 : 0
        let written = Self.writable & (0xFFFF_FFFF << shift)
        bits = bits & ~written | UInt64(value) << shift & written
        if !endsByEOI { remoteIRR = false }
    }

    /// Whether the interrupt follows the rules of a level: sent while the line is asserted, ended by an EOI. The other delivery modes
    /// are edge-triggered whatever bit 15 says (data sheet, delivery mode: SMI, NMI, INIT "must be programmed as edge").
    var endsByEOI: Bool { isLevel && (delivery == .fixed || delivery == .lowestPriority) }

    /// The message that delivers the interrupt (Intel SDM volume 3, 11.11), whether masked or not; nil when there is nothing that a
    /// local APIC would accept: a reserved mode, a vector below 16 (SDM 11.5.2), or ExtINT, which needs the 8259 that is not there.
    var message: MSIMessage? {
        switch delivery {
        case .reserved3, .reserved6, .external: return nil
        case .fixed, .lowestPriority: if vector < 16 { return nil }
        case .smi, .nmi, .initialize: break
        }
        var address: UInt64 = 0xFEE0_0000 | UInt64(destination) << 12
        if isLogical { address |= 1 << 2 }
        // The redirection hint: the message may go to any processor of the set.
        if delivery == .lowestPriority { address |= 1 << 3 }
        var data = UInt32(truncatingIfNeeded: bits & 0x7FF)
        if endsByEOI { data |= 1 << 15 | 1 << 14 }
        return MSIMessage(address: address, data: data)
    }

    /// What must stand behind the pin's GSI.
    ///
    /// An edge source signals an irqfd of the GSI. A masked pin ignores edges, and neither delivers nor holds them (data sheet,
    /// interrupt mask): without a message KVM drops them in the same way. A level pin keeps its message while it is masked: nothing
    /// signals its GSI, but KVM finds there which EOIs to report, and Linux ends threaded interrupts while they are masked. Without
    /// the report Remote IRR would stay set, and the pin be dead.
    var route: MSIMessage? { isMasked && !endsByEOI ? nil : message }
}
