import Transport
import Virtqueue

/// Finds the structures of virtio 1.3, 4.1.4 through the capability list, as a driver does, and drives them.
final class PCIRegisterDriver: RegisterDriver {
    enum Way { case ecam, ports }
    struct Structure {
        let bar: Int
        let offset: UInt64
        let length: UInt64
        let capability: Int
    }

    let rig: Rig
    let slot: Int
    var way = Way.ecam
    private(set) var structures: [UInt8: Structure] = [:]
    private(set) var msixCapability = 0
    private(set) var notifyMultiplier: UInt64 = 0

    init(_ rig: Rig, slot: Int) {
        self.rig = rig
        self.slot = slot
        guard config(0, 2) != 0xffff else { return }
        var capability = Int(config(0x34, 1))
        while capability != 0 {
            switch config(capability, 1) {
            case 0x11: msixCapability = capability
            case 0x09:
                let kind = UInt8(truncatingIfNeeded: config(capability + 3, 1))
                structures[kind] = Structure(
                    bar: Int(config(capability + 4, 1)), offset: UInt64(config(capability + 8, 4)),
                    length: UInt64(config(capability + 12, 4)), capability: capability)
                if kind == 2 { notifyMultiplier = UInt64(config(capability + 16, 4)) }
            default: break
            }
            capability = Int(config(capability + 1, 1))
        }
    }

    // MARK: Configuration space

    func config(_ offset: Int, _ width: Int) -> UInt32 {
        // A guest sees as many bytes as it asked for.
        let mask = UInt64.max >> UInt64(64 - 8 * width)
        switch way {
        case .ecam:
            return UInt32(truncatingIfNeeded: (rig.bus.read(at: Rig.ecam + UInt64(slot << 15 | offset), width: width) ?? .max) & mask)
        case .ports:
            rig.ports.write(UInt64(0x8000_0000 | slot << 11 | offset & 0xfc), at: 0xcf8, width: 4)
            return UInt32(truncatingIfNeeded: (rig.ports.read(at: 0xcfc + UInt64(offset & 3), width: width) ?? .max) & mask)
        }
    }

    func setConfig(_ value: UInt32, _ offset: Int, _ width: Int) {
        switch way {
        case .ecam: rig.bus.write(UInt64(value), at: Rig.ecam + UInt64(slot << 15 | offset), width: width)
        case .ports:
            rig.ports.write(UInt64(0x8000_0000 | slot << 11 | offset & 0xfc), at: 0xcf8, width: 4)
            rig.ports.write(UInt64(value), at: 0xcfc + UInt64(offset & 3), width: width)
        }
    }

    var bar0: UInt64 { UInt64(config(0x10, 4) & ~0xf) }
    var registers: Range<UInt64> { bar0..<bar0 + 0x8000 }

    // MARK: Structures

    func place(_ kind: UInt8) -> UInt64 { bar0 + (structures[kind]?.offset ?? 0xffff_0000) }
    func common(_ offset: UInt64, _ width: Int) -> UInt32 {
        UInt32(truncatingIfNeeded: rig.bus.read(at: place(1) + offset, width: width) ?? 0xdead_beef)
    }
    func setCommon(_ value: UInt32, _ offset: UInt64, _ width: Int) {
        rig.bus.write(UInt64(value), at: place(1) + offset, width: width)
    }

    var status: UInt32 {
        get { common(0x14, 1) }
        set { setCommon(newValue, 0x14, 1) }
    }
    var generation: UInt32 { common(0x15, 1) }
    func deviceFeatures(_ index: UInt32) -> UInt32 {
        setCommon(index, 0, 4)
        return common(4, 4)
    }
    func writeDriverFeatures(_ bits: UInt32, _ index: UInt32) {
        setCommon(index, 8, 4)
        setCommon(bits, 0xc, 4)
    }
    func select(_ queue: UInt32) { setCommon(queue, 0x16, 2) }
    var queueMaxSize: UInt32 { common(0x18, 2) }
    func setQueueSize(_ size: UInt32) { setCommon(size, 0x18, 2) }
    func setArea(_ area: RingArea, _ address: UInt64) {
        let offset: UInt64 =
            switch area {
            case .descriptor: 0x20
            case .driver: 0x28
            case .device: 0x30
            }
        setCommon(UInt32(truncatingIfNeeded: address), offset, 4)
        setCommon(UInt32(truncatingIfNeeded: address >> 32), offset + 4, 4)
    }
    var queueEnabled: UInt32 {
        get { common(0x1c, 2) }
        set { setCommon(newValue, 0x1c, 2) }
    }
    var queueReset: UInt32 {
        get { common(0x3a, 2) }
        set { setCommon(newValue, 0x3a, 2) }
    }
    func notify(_ queue: Int) {
        select(UInt32(queue))
        let place = place(2) + UInt64(common(0x1e, 2)) * notifyMultiplier
        rig.guestWrite(UInt64(queue), at: place, width: 2)
    }
    func readConfiguration(_ offset: UInt64, _ width: Int) -> UInt64 { rig.bus.read(at: place(4) + offset, width: width) ?? .max }
    func writeConfiguration(_ value: UInt64, _ offset: UInt64, _ width: Int) { rig.bus.write(value, at: place(4) + offset, width: width) }
    func hasInterrupt() -> Bool { rig.lines[slot % 4].isHigh }
    func interruptCauses() -> UInt32 { UInt32(truncatingIfNeeded: rig.bus.read(at: place(3), width: 1) ?? 0xff) }

    // MARK: MSI-X

    func enableMSIX(_ on: Bool = true, functionMask: Bool = false) {
        setConfig((on ? 1 << 15 : 0) | (functionMask ? 1 << 14 : 0), msixCapability + 2, 2)
    }
    var tableAddress: UInt64 { bar0 + UInt64(config(msixCapability + 4, 4) & ~7) }
    var pendingAddress: UInt64 { bar0 + UInt64(config(msixCapability + 8, 4) & ~7) }
    /// Writes an entry whose message carries `data`.
    func setEntry(_ vector: Int, data: UInt32, masked: Bool = false) {
        let entry = tableAddress + UInt64(vector * 16)
        rig.bus.write(0xfee0_0000, at: entry, width: 4)
        rig.bus.write(0, at: entry + 4, width: 4)
        rig.bus.write(UInt64(data), at: entry + 8, width: 4)
        rig.bus.write(masked ? 1 : 0, at: entry + 12, width: 4)
    }
    func mask(_ vector: Int, _ on: Bool) { rig.bus.write(on ? 1 : 0, at: tableAddress + UInt64(vector * 16 + 12), width: 4) }
    func pending() -> UInt64 { rig.bus.read(at: pendingAddress, width: 8) ?? .max }
    func setVector(_ vector: UInt16, queue: Int) -> UInt32 {
        select(UInt32(queue))
        setCommon(UInt32(vector), 0x1a, 2)
        return common(0x1a, 2)
    }
    func setConfigurationVector(_ vector: UInt16) -> UInt32 {
        setCommon(UInt32(vector), 0x10, 2)
        return common(0x10, 2)
    }
}
