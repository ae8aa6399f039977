import GuestMemory
import Host
import Testing

@testable import Machine

/// The tables of one machine, found as a kernel finds them.
private struct Tables {
    let memory: GuestMemory
    var root: ByteImage
    var tables: [String: ByteImage] = [:]

    init(cpuCount: Int, mmioSlots: [Int], size: UInt64 = 64 << 20) throws {
        let map = try AddressMap(memorySize: size, physicalAddressBits: 46)
        memory = try GuestMemory(ranges: map.memory)
        let rsdp = try ACPITables.write(cpuCount: cpuCount, map: map, mmioSlots: mmioSlots, into: memory).rsdp
        #expect(rsdp == 0xe0000)
        root = ByteImage(try #require(memory.read(at: rsdp, count: 36)))
        let xsdt = try table(try #require(root.load(24, as: UInt64.self)))
        for offset in stride(from: 36, to: xsdt.bytes.count, by: 8) {
            let found = try table(try #require(xsdt.load(offset, as: UInt64.self)))
            tables[Self.signature(found)] = found
        }
        let fadt = try #require(tables["FACP"])
        tables["DSDT"] = try table(try #require(fadt.load(140, as: UInt64.self)))
        tables["XSDT"] = xsdt
    }

    static func signature(_ table: ByteImage) -> String { String(decoding: table.bytes.prefix(4), as: UTF8.self) }

    private func table(_ address: UInt64) throws -> ByteImage {
        let length: UInt32 = try #require(memory.load(at: address + 4))
        #expect(AddressMap.acpi.contains(address) && AddressMap.acpi.contains(address + UInt64(length) - 1))
        return ByteImage(try #require(memory.read(at: address, count: Int(length))))
    }
}

@Suite("ACPI tables") struct ACPITablesTests {
    @Test(
        "every table is where another one points, and sums up to zero (ACPI 6.5, 5.2)",
        arguments: [(1, []), (2, [0, 3]), (255, Array(0..<13))])
    func checksums(cpuCount: Int, slots: [Int]) throws {
        let tables = try Tables(cpuCount: cpuCount, mmioSlots: slots)
        #expect(tables.root.has("RSD PTR ", at: 0))
        #expect(tables.root.bytes[..<20].reduce(0, &+) == 0)
        #expect(tables.root.bytes.reduce(0, &+) == 0)
        #expect(Set(tables.tables.keys) == ["XSDT", "FACP", "DSDT", "APIC", "MCFG"])
        for (name, table) in tables.tables { #expect(table.bytes.reduce(0, &+) == 0, "\(name)") }
    }

    @Test("5.2.9: the FADT says hardware-reduced, and how to reset and to switch off") func fadt() throws {
        let fadt = try #require(try Tables(cpuCount: 1, mmioSlots: []).tables["FACP"])
        #expect(fadt.bytes.count == 276 && fadt.bytes[8] == 6)
        let flags: UInt32 = try #require(fadt.load(112))
        #expect(flags & 1 << 20 != 0 && flags & 1 << 10 != 0)
        #expect(fadt.load(118, as: UInt8.self) == 0 && fadt.load(120, as: UInt64.self) == 0xcf9)
        #expect(fadt.bytes[116] == 1, "in port space")
        #expect(fadt.bytes[128] == ResetRegister.resetValue)
        #expect(fadt.load(248, as: UInt64.self) == AddressMap.sleepControl.lowerBound)
        #expect(fadt.load(260, as: UInt64.self) == AddressMap.sleepControl.lowerBound + 1)
        // Fixed hardware does not exist: no SCI, no PM timer, no event blocks.
        #expect(fadt.bytes[46..<109].allSatisfy { $0 == 0 })
    }

    @Test("5.2.12: the MADT lists each processor once, the IOAPIC, and no PIC") func madt() throws {
        let madt = try #require(try Tables(cpuCount: 3, mmioSlots: []).tables["APIC"])
        #expect(madt.load(36, as: UInt32.self) == 0xfee0_0000)
        #expect(madt.load(40, as: UInt32.self) == 0, "PCAT_COMPAT")
        var processors: [UInt8] = []
        var controllers: [UInt32] = []
        var offset = 44
        while offset < madt.bytes.count {
            let length = Int(madt.bytes[offset + 1])
            try #require(length >= 2)
            switch madt.bytes[offset] {
            case 0:
                #expect(madt.bytes[offset + 2] == madt.bytes[offset + 3] && madt.load(offset + 4, as: UInt32.self) == 1)
                processors.append(madt.bytes[offset + 3])
            case 1:
                controllers.append(try #require(madt.load(offset + 4)))
                #expect(madt.load(offset + 8, as: UInt32.self) == 0)
            default: break
            }
            offset += length
        }
        #expect(offset == madt.bytes.count)
        #expect(processors == [0, 1, 2])
        #expect(controllers == [0xfec0_0000])
    }

    @Test("the MCFG names the ECAM (PCI Firmware 3.2, 4.1.2)") func mcfg() throws {
        let mcfg = try #require(try Tables(cpuCount: 1, mmioSlots: []).tables["MCFG"])
        #expect(mcfg.bytes.count == 60)
        #expect(mcfg.load(44, as: UInt64.self) == AddressMap.ecam.lowerBound)
        #expect(mcfg.bytes[54] == 0 && UInt64(mcfg.bytes[55]) == AddressMap.pciBusCount - 1)
    }

    @Test(
        "what ACPICA disassembles from the DSDT, it compiles again to the same bytes, without a warning",
        .enabled(if: findProgram("iasl") != nil))
    func disassembly() throws {
        let dsdt = try #require(try Tables(cpuCount: 2, mmioSlots: [0, 12]).tables["DSDT"])
        // The header bears the compiler's name and is not compared. The files reach the shell through /proc, opened anew: from their beginning.
        let script = """
            d=$(mktemp -d) && trap 'rm -rf "$d"' EXIT && cat /proc/self/fd/0 >"$d/in.aml" && cd "$d" && exec 2>&1 &&
            iasl -d in.aml && mv in.dsl out.dsl && iasl -oa -of -p out out.dsl && cmp -i 36 in.aml out.aml && cat out.dsl && echo same
            """
        let input = try file(dsdt.bytes)
        let output = try makeMemoryFile(name: "output", size: 0)
        var shell = try ChildProcess(
            path: "/bin/sh", arguments: ["sh", "-c", script],
            descriptors: [
                InheritedDescriptor(input.rawValue, as: 0), InheritedDescriptor(output.rawValue, as: 1),
                InheritedDescriptor(output.rawValue, as: 2),
            ])
        let status = try shell.wait(timeoutMilliseconds: 120_000)
        let size = try output.size()
        let text = String(decoding: try KernelFile.share(output, .kernel).bytes(at: 0, count: Int(size)).bytes, as: UTF8.self)
        #expect(status == .exited(0), "\(text)")
        #expect(text.contains("0 Errors, 0 Warnings"), "\(text)")
        for line in [
            "Name (_HID, EisaId (\"PNP0A08\")", "Name (_HID, \"LNRO0005\")", "Name (_HID, \"ACPI0013\"", "Notify (\\_SB.PWRB, 0x80)",
            "Memory32Fixed (ReadWrite,", "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive,", "Name (\\_S5,",
        ] { #expect(text.contains(line), "\(line) in \(text)") }
        #expect(text.hasSuffix("same\n"))
    }
}
