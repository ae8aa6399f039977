import Host
import Transport
import Virtqueue

/// Drives the registers of virtio 1.3, 4.2.2.
final class MMIORegisterDriver: RegisterDriver {
    let rig: Rig
    let base: UInt64 = 0xfe00_0000
    var registers: Range<UInt64> { base..<base + VirtioMMIODevice.size }

    init(_ rig: Rig) { self.rig = rig }

    func read(_ offset: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: rig.bus.read(at: base + offset, width: 4) ?? 0xdead_beef) }
    func write(_ value: UInt32, _ offset: UInt64) { rig.bus.write(UInt64(value), at: base + offset, width: 4) }

    var status: UInt32 {
        get { read(0x70) }
        set { write(newValue, 0x70) }
    }
    var generation: UInt32 { read(0xfc) }
    func deviceFeatures(_ index: UInt32) -> UInt32 {
        write(index, 0x14)
        return read(0x10)
    }
    func writeDriverFeatures(_ bits: UInt32, _ index: UInt32) {
        write(index, 0x24)
        write(bits, 0x20)
    }
    func select(_ queue: UInt32) { write(queue, 0x30) }
    var queueMaxSize: UInt32 { read(0x34) }
    func setQueueSize(_ size: UInt32) { write(size, 0x38) }
    func setArea(_ area: RingArea, _ address: UInt64) {
        let offset: UInt64 =
            switch area {
            case .descriptor: 0x80
            case .driver: 0x90
            case .device: 0xa0
            }
        write(UInt32(truncatingIfNeeded: address), offset)
        write(UInt32(truncatingIfNeeded: address >> 32), offset + 4)
    }
    var queueEnabled: UInt32 {
        get { read(0x44) }
        set { write(newValue, 0x44) }
    }
    var queueReset: UInt32 {
        get { read(0xc0) }
        set { write(newValue, 0xc0) }
    }
    func notify(_ queue: Int) { rig.guestWrite(UInt64(queue), at: base + 0x50, width: 4) }
    func readConfiguration(_ offset: UInt64, _ width: Int) -> UInt64 { rig.bus.read(at: base + 0x100 + offset, width: width) ?? .max }
    func writeConfiguration(_ value: UInt64, _ offset: UInt64, _ width: Int) {
        rig.bus.write(value, at: base + 0x100 + offset, width: width)
    }
    func hasInterrupt() -> Bool { rig.edge.drain() }
    func interruptCauses() -> UInt32 {
        let causes = read(0x60)
        write(causes, 0x64)
        return causes
    }
}
