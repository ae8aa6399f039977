extension AddressMap {
    /// What a range is for, as far as an operating system must be told.
    public enum Kind: Sendable, Equatable {
        /// RAM that the guest may use.
        case usable
        /// Not RAM to the guest, and not free for devices either (E820 type 2).
        case reserved
        /// A device, or a window in which devices are placed.
        case device
    }

    /// One line of the table.
    public struct Entry: Sendable, Equatable {
        /// What stands there.
        public let name: String
        /// Its guest-physical addresses or its ports.
        public let range: Range<UInt64>
        /// What it is for.
        public let kind: Kind
    }

    /// Memory space, ascending, without the contents of low RAM.
    public var entries: [Entry] {
        var entries = [
            Entry(name: "low RAM", range: 0..<Self.firmware.lowerBound, kind: .usable),
            Entry(name: "firmware", range: Self.firmware, kind: .reserved),
            Entry(name: "RAM", range: Self.firmware.upperBound..<lowMemory.upperBound, kind: .usable),
            Entry(name: "PCI 32-bit window", range: Self.pciWindow32, kind: .device),
            Entry(name: "PCI ECAM", range: Self.ecam, kind: .reserved),
            Entry(name: "virtio-mmio", range: Self.virtioMMIO, kind: .device),
            Entry(name: "IOAPIC", range: Self.ioapic, kind: .device),
            Entry(name: "local APIC", range: Self.localAPIC, kind: .device),
            Entry(name: "KVM identity map", range: Self.identityMap, kind: .reserved),
            Entry(name: "KVM task state", range: Self.taskState, kind: .reserved),
        ]
        entries += memory.dropFirst().map { Entry(name: "RAM above 4 GiB", range: $0, kind: .usable) }
        if !pciWindow64.isEmpty { entries.append(Entry(name: "PCI 64-bit window", range: pciWindow64, kind: .device)) }
        return entries
    }

    /// What boot protocols place in low RAM, ascending.
    public static let bootEntries = [
        Entry(name: "boot GDT", range: bootGDT, kind: .usable),
        Entry(name: "PVH start info", range: pvhStartInfo, kind: .usable),
        Entry(name: "zero page", range: zeroPage, kind: .usable),
        Entry(name: "boot stack", range: bootStack, kind: .usable),
        Entry(name: "boot page tables", range: bootPageTables, kind: .usable),
        Entry(name: "command line", range: commandLine, kind: .usable),
        Entry(name: "setup data", range: setupData, kind: .usable),
        Entry(name: "ACPI tables", range: acpi, kind: .reserved),
    ]

    /// Port space, ascending.
    public static let portEntries = [
        Entry(name: "i8042", range: i8042, kind: .device),
        Entry(name: "RTC", range: rtc, kind: .device),
        Entry(name: "COM1", range: com1, kind: .device),
        Entry(name: "debug exit", range: debugExit, kind: .device),
        Entry(name: "pvpanic", range: pvpanic, kind: .device),
        Entry(name: "events", range: events, kind: .device),
        Entry(name: "sleep control", range: sleepControl, kind: .device),
        Entry(name: "PCI configuration", range: pciConfiguration, kind: .device),
    ]
}
