import Transport

/// The DSDT: which devices there are, where, and what the power button does.
struct DSDT {
    let cpuCount: Int
    let map: AddressMap
    /// The virtio-mmio slots in use, below GSI.virtioMMIO.count.
    let mmioSlots: [Int]

    /// The table's content after its header.
    var content: [UInt8] {
        let devices =
            [hostBridge, motherboard, serialPort, clock, panicDevice, powerButton, generationID, eventDevice]
            + mmioSlots.compactMap(virtioMMIO) + (0..<cpuCount).map(processor)
        // S5 is entered by writing this SLP_TYP to the sleep control register (4.8.3.7, 16.1.7).
        let softOff = AML.name("\\_S5", .package([.integer(UInt64(SleepControl.sleepTypeS5)), .integer(0), .integer(0), .integer(0)]))
        return AML.scope("\\_SB", devices).bytes + softOff.bytes
    }

    private var hostBridge: AML {
        let configuration = AddressMap.pciConfiguration
        var windows = [
            AML.window(.buses, 0..<AddressMap.pciBusCount, width: 2),
            AML.ports(configuration),
            AML.window(.ports, 0..<configuration.lowerBound, width: 2),
            AML.window(.ports, configuration.upperBound..<0x1_0000, width: 2),
            AML.window(.memory, AddressMap.pciWindow32, width: 4),
        ]
        if !map.pciWindow64.isEmpty { windows.append(AML.window(.memory, map.pciWindow64, width: 8)) }
        return .device(
            "PCI0",
            [
                .name("_HID", .eisaID("PNP0A08")), .name("_CID", .eisaID("PNP0A03")), .name("_UID", .integer(0)),
                .name("_SEG", .integer(0)), .name("_BBN", .integer(0)), .name("_CRS", .resources(windows)),
                .name("_PRT", interruptRoutes),
            ])
    }

    /// _PRT (6.2.13): the GSI of each interrupt pin of each slot, wired without a link device.
    private var interruptRoutes: AML {
        .table(rows: 4 * (PCIBus.slotCount - 1), columns: 4) { row, column in
            let (slot, pin) = (1 + row / 4, row % 4)
            return switch column {
            case 0: UInt64(slot) << 16 | 0xffff
            case 1: UInt64(pin)
            case 2: 0
            default: UInt64(PCIBus.interruptGSI(slot: slot, pin: pin))
            }
        }
    }

    /// Keeps the guest from placing anything where configuration space and the power registers are.
    private var motherboard: AML {
        .device(
            "MBRD",
            [
                .name("_HID", .eisaID("PNP0C02")), .name("_UID", .integer(0)),
                .name(
                    "_CRS",
                    .resources([AML.memory32(AddressMap.ecam), AML.ports(AddressMap.events), AML.ports(AddressMap.sleepControl)])),
            ])
    }

    private var serialPort: AML {
        .device(
            "COM1",
            [
                .name("_HID", .eisaID("PNP0501")), .name("_UID", .integer(1)), .name("_DDN", .string("COM1")),
                .name("_CRS", .resources([AML.ports(AddressMap.com1), AML.edgeInterrupt(GSI.com1)])),
            ])
    }

    /// The clock declares no interrupt, because none ever comes: with one, Linux offers alarms, and `hwclock` waits for ticks in vain.
    private var clock: AML {
        .device(
            "RTC0",
            [.name("_HID", .eisaID("PNP0B00")), .name("_CRS", .resources([AML.ports(AddressMap.rtc)]))])
    }

    private var panicDevice: AML {
        .device(
            "PVPN",
            [
                .name("_HID", .string("QEMU0001")), .name("_CRS", .resources([AML.ports(AddressMap.pvpanic)])),
                .name("_STA", .integer(0xf)),
            ])
    }

    private var powerButton: AML { .device("PWRB", [.name("_HID", .eisaID("PNP0C0C")), .name("_UID", .integer(0))]) }

    /// The VM Generation ID: drivers find the 16 bytes by `ADDR` and read them again when they are notified.
    private var generationID: AML {
        let address = AddressMap.vmGeneration.lowerBound
        return .device(
            "VGEN",
            [
                .name("_HID", .string("SWVM0001")), .name("_CID", .string("VM_Gen_Counter")), .name("_DDN", .string("VM_Gen_Counter")),
                .name("_UID", .integer(0)),
                .name("ADDR", .package([.integer(address & 0xffff_ffff), .integer(address >> 32)])),
            ])
    }

    /// The generic event device (5.6.9): its method reads the status byte, which clears it, and passes the events on.
    private var eventDevice: AML {
        .device(
            "GED0",
            [
                .name("_HID", .string("ACPI0013")), .name("_UID", .integer(0)),
                .name("_CRS", .resources([AML.edgeInterrupt(GSI.events)])),
                .portRegion("EREG", AddressMap.events), .byteField("EREG", "ESTS"),
                .method(
                    "_EVT", arguments: 1,
                    [
                        .store(.path("ESTS"), in: .local0),
                        .ifSet(
                            .local0, mask: UInt64(GenericEventDevice.Event.powerButton.rawValue), [.notify("\\_SB.PWRB", 0x80)]),
                        .ifSet(
                            .local0, mask: UInt64(GenericEventDevice.Event.newGeneration.rawValue), [.notify("\\_SB.VGEN", 0x80)]),
                    ]),
            ])
    }

    private func virtioMMIO(_ slot: Int) -> AML? {
        guard let range = AddressMap.virtioMMIO(slot: slot) else { return nil }
        let digits = String(slot, radix: 16, uppercase: true)
        return .device(
            "VM" + (digits.utf8.count < 2 ? "0" : "") + digits,
            [
                .name("_HID", .string("LNRO0005")), .name("_UID", .integer(UInt64(slot))), .name("_CCA", .integer(1)),
                .name("_CRS", .resources([AML.memory32(range), AML.edgeInterrupt(GSI.virtioMMIO[slot])])),
            ])
    }

    private func processor(_ index: Int) -> AML {
        let digits = String(index, radix: 16, uppercase: true)
        let name = "C" + String(repeating: "0", count: max(3 - digits.utf8.count, 0)) + digits
        return .device(name, [.name("_HID", .string("ACPI0007")), .name("_UID", .integer(UInt64(index)))])
    }
}
