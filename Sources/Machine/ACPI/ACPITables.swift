public import GuestMemory

/// The ACPI tables of a machine: hardware-reduced, so no PIC, no PIT, no SCI and no fixed hardware are described (ACPI 6.5, 4.1).
public struct ACPITables: Sendable {
    /// Guest physical address of the RSDP.
    public let rsdp: UInt64

    /// Tables that would not fit where the address map has room for them.
    public struct TooLarge: Error, Sendable, Equatable, CustomStringConvertible {
        /// One sentence.
        public var description: String { "The ACPI tables do not fit into the \(AddressMap.acpi.count) bytes that are reserved for them." }
    }

    /// Writes the tables for `cpuCount` virtual CPUs and the virtio-mmio slots in use.
    public static func write(cpuCount: Int, map: AddressMap, mmioSlots: [Int], into memory: GuestMemory) throws(TooLarge) -> ACPITables {
        var image = TableImage(start: AddressMap.acpi.lowerBound)
        // The RSDP stands first, where kernels search for it; its place is kept until the XSDT's address is known.
        image.reserve(Self.rsdpSize)
        let dsdt = image.append(Self.table("DSDT", revision: 2, DSDT(cpuCount: cpuCount, map: map, mmioSlots: mmioSlots).content))
        let tables = [
            image.append(Self.table("FACP", revision: 6, Self.fixedDescription(dsdt: dsdt))),
            image.append(Self.table("APIC", revision: 5, Self.interruptControllers(cpuCount: cpuCount))),
            image.append(Self.table("MCFG", revision: 1, Self.configurationSpace)),
        ]
        let xsdt = image.append(Self.table("XSDT", revision: 1, tables.flatMap { AML.littleEndian($0, 8) }))
        image.replaceStart(Self.rootPointer(xsdt: xsdt))
        guard image.bytes.count <= AddressMap.acpi.count, memory.write(image.bytes, at: AddressMap.acpi.lowerBound) else {
            throw TooLarge()
        }
        return ACPITables(rsdp: AddressMap.acpi.lowerBound)
    }

    // MARK: Headers

    private static let rsdpSize = 36
    private static let oem = Array("SWVMM ".utf8)

    /// A table with its header (5.2.6) and checksum.
    static func table(_ signature: String, revision: UInt8, _ content: [UInt8]) -> [UInt8] {
        let length = AML.littleEndian(UInt64(36 + content.count), 4)
        let names = oem + Array("SWVMMVM ".utf8) + AML.littleEndian(1, 4) + Array("SWVM".utf8) + AML.littleEndian(1, 4)
        var bytes = Array(signature.utf8) + length + [revision, 0] + names + content
        bytes[9] = checksum(bytes)
        return bytes
    }

    /// The byte that makes the sum of all bytes zero.
    private static func checksum(_ bytes: some Sequence<UInt8>) -> UInt8 { 0 &- bytes.reduce(0, &+) }

    /// The RSDP (5.2.5.3).
    private static func rootPointer(xsdt: UInt64) -> [UInt8] {
        var bytes = Array("RSD PTR ".utf8) + [0] + oem + [2] + AML.littleEndian(0, 4)
        bytes += AML.littleEndian(UInt64(rsdpSize), 4) + AML.littleEndian(xsdt, 8) + [0, 0, 0, 0]
        bytes[8] = checksum(bytes[0..<20])
        bytes[32] = checksum(bytes)
        return bytes
    }

    // MARK: Tables

    /// The FADT (5.2.9) after its header.
    private static func fixedDescription(dsdt: UInt64) -> [UInt8] {
        var image = ByteImage(count: 276)
        let isWriteBackInvalidateSound: UInt32 = 1 << 0
        let isPowerButtonADevice: UInt32 = 1 << 4
        let isSleepButtonADevice: UInt32 = 1 << 5
        let hasResetRegister: UInt32 = 1 << 10
        let isHardwareReduced: UInt32 = 1 << 20
        image.store(
            isWriteBackInvalidateSound | isPowerButtonADevice | isSleepButtonADevice | hasResetRegister | isHardwareReduced, at: 112)
        // IAPC_BOOT_ARCH: no VGA; no legacy devices and no keyboard controller are claimed (reset through its command port works all the same).
        image.store(UInt16(1 << 2), at: 109)
        image.store(port8(AddressMap.resetRegister), at: 116)
        image.store(ResetRegister.resetValue, at: 128)
        image.store(UInt8(5), at: 131)
        image.store(dsdt, at: 140)
        image.store(port8(AddressMap.sleepControl.lowerBound + SleepControl.controlOffset), at: 244)
        image.store(port8(AddressMap.sleepControl.lowerBound + SleepControl.statusOffset), at: 256)
        image.store(UInt64(0x4d4d_5657_53), at: 268)  // hypervisor vendor: "SWVMM"
        return Array(image.bytes[36...])
    }

    /// A generic address (5.2.3.2): an 8-bit I/O port.
    private static func port8(_ port: UInt64) -> [UInt8] { [1, 8, 0, 1] + AML.littleEndian(port, 8) }

    /// The MADT (5.2.12) after its header: local APICs, the IOAPIC, NMI on LINT1.
    private static func interruptControllers(cpuCount: Int) -> [UInt8] {
        var bytes = AML.littleEndian(AddressMap.localAPIC.lowerBound, 4) + AML.littleEndian(0, 4)
        for index in 0..<cpuCount {
            let id = UInt8(truncatingIfNeeded: index)
            bytes += [0, 8, id, id] + AML.littleEndian(1, 4)
        }
        bytes += [1, 12, 0, 0] + AML.littleEndian(AddressMap.ioapic.lowerBound, 4) + AML.littleEndian(0, 4)
        bytes += [4, 6, 0xff, 0, 0, 1]
        return bytes
    }

    /// The MCFG (PCI Firmware 3.2, 4.1.2) after its header.
    private static var configurationSpace: [UInt8] {
        let lastBus = UInt8(truncatingIfNeeded: AddressMap.pciBusCount - 1)
        return AML.littleEndian(0, 8) + AML.littleEndian(AddressMap.ecam.lowerBound, 8) + AML.littleEndian(0, 2) + [0, lastBus]
            + AML.littleEndian(0, 4)
    }
}

/// Tables one after the other, each at a multiple of 16.
private struct TableImage {
    let start: UInt64
    private(set) var bytes: [UInt8] = []

    init(start: UInt64) { self.start = start }

    mutating func reserve(_ count: Int) { bytes += [UInt8](repeating: 0, count: count) }

    /// Adds a table and returns its guest physical address.
    mutating func append(_ table: [UInt8]) -> UInt64 {
        reserve((16 - bytes.count % 16) % 16)
        let address = start + UInt64(bytes.count)
        bytes += table
        return address
    }

    mutating func replaceStart(_ content: [UInt8]) {
        guard content.count <= bytes.count else { return }
        bytes.replaceSubrange(0..<content.count, with: content)
    }
}

extension ByteImage {
    /// Sets bytes at `offset`, as many as lie inside.
    fileprivate mutating func store(_ content: [UInt8], at offset: Int) {
        for (index, byte) in content.enumerated() { store(byte, at: offset + index) }
    }
}
