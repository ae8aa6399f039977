import Testing

@testable import Machine

/// The expectations are encoded by hand from ACPI 6.5; the numbers in the names are its clauses.
@Suite("AML encoding") struct AMLTests {
    @Test("20.2.2: names are padded to four characters, paths prefixed by their number of segments") func names() {
        #expect(AML.path("_HID").bytes == Array("_HID".utf8))
        #expect(AML.path("S5").bytes == Array("S5__".utf8))
        #expect(AML.path("\\_SB.PCI0").bytes == [0x5c, 0x2e] + Array("_SB_PCI0".utf8))
        #expect(AML.path("\\_SB.PCI0.ISA").bytes == [0x5c, 0x2f, 3] + Array("_SB_PCI0ISA_".utf8))
        #expect(AML.path("\\").bytes == [0x5c, 0])
    }

    @Test("20.2.3: integers take their shortest form") func integers() {
        #expect(AML.integer(0).bytes == [0x00])
        #expect(AML.integer(1).bytes == [0x01])
        #expect(AML.integer(2).bytes == [0x0a, 2])
        #expect(AML.integer(0xff).bytes == [0x0a, 0xff])
        #expect(AML.integer(0x100).bytes == [0x0b, 0x00, 0x01])
        #expect(AML.integer(0x1_0000).bytes == [0x0c, 0, 0, 1, 0])
        #expect(AML.integer(0x1_0000_0000).bytes == [0x0e, 0, 0, 0, 0, 1, 0, 0, 0])
        #expect(AML.string("A").bytes == [0x0d, 0x41, 0])
    }

    @Test(
        "20.2.4: PkgLength counts itself, in one to four bytes",
        arguments: [0, 1, 61, 62, 63, 64, 4092, 4093, 4094, 5000, 1 << 20, 1 << 21])
    func packageLength(count: Int) {
        let encoded = AML.withLength([UInt8](repeating: 7, count: count))
        let extra = Int(encoded[0] >> 6)
        var length = extra == 0 ? Int(encoded[0] & 0x3f) : Int(encoded[0] & 0xf)
        for index in 0..<extra { length |= Int(encoded[1 + index]) << (4 + 8 * index) }
        #expect(length == encoded.count)
        #expect(encoded.count == count + 1 + extra)
        #expect(extra == (count < 63 ? 0 : count < 4094 ? 1 : count < (1 << 20) - 3 ? 2 : 3))
    }

    @Test("19.6.36: EISA ids") func eisa() {
        #expect(AML.eisaID("PNP0A08").bytes == [0x0c, 0x41, 0xd0, 0x0a, 0x08])
        #expect(AML.eisaID("PNP0501").bytes == [0x0c, 0x41, 0xd0, 0x05, 0x01])
    }

    @Test("20.2.5: devices, names, packages, buffers and methods") func objects() {
        #expect(AML.name("_UID", .integer(3)).bytes == [0x08] + Array("_UID".utf8) + [0x0a, 3])
        #expect(
            AML.device("DEV0", [.name("_UID", .integer(0))]).bytes == [0x5b, 0x82, 11] + Array("DEV0".utf8) + [0x08] + Array("_UID".utf8)
                + [0])
        #expect(AML.package([.integer(0), .integer(1)]).bytes == [0x12, 4, 2, 0, 1])
        let values: [UInt64] = [0, 1, 2, 0x100, 0x1_0000, 0x1_0000_0000]
        let rows = (0..<40).map { row in AML.package(values.map { .integer($0 * UInt64(row)) }) }
        #expect(AML.table(rows: 40, columns: 6) { row, column in values[column] * UInt64(row) } == .package(rows))
        #expect(AML.buffer([9, 8]).bytes == [0x11, 5, 0x0a, 2, 9, 8])
        #expect(AML.method("_EVT", arguments: 1, []).bytes == [0x14, 6] + Array("_EVT".utf8) + [9])
        #expect(AML.notify("\\_SB.PWRB", 0x80).bytes == [0x86, 0x5c, 0x2e] + Array("_SB_PWRB".utf8) + [0x0a, 0x80])
        #expect(AML.ifSet(.local0, mask: 1, []).bytes == [0xa0, 5, 0x7b, 0x60, 0x01, 0x00])
        #expect(AML.portRegion("EREG", 0x600..<0x601).bytes == [0x5b, 0x80] + Array("EREG".utf8) + [1, 0x0b, 0, 6, 1])
        #expect(AML.byteField("EREG", "ESTS").bytes == [0x5b, 0x81, 11] + Array("EREG".utf8) + [0x41] + Array("ESTS".utf8) + [8])
    }

    @Test("6.4: resource descriptors") func resources() {
        #expect(AML.ports(0x3f8..<0x400) == [0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8])
        #expect(AML.memory32(0xfe00_0000..<0xfe00_1000) == [0x86, 9, 0, 1, 0, 0, 0, 0xfe, 0, 0x10, 0, 0])
        #expect(AML.edgeInterrupt(5) == [0x89, 6, 0, 3, 1, 5, 0, 0, 0])
        #expect(AML.window(.buses, 0..<1, width: 2) == [0x88, 13, 0, 2, 0xc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0])
        #expect(
            AML.window(.memory, 0xc000_0000..<0xe000_0000, width: 4)
                == [0x87, 23, 0, 0, 0xc, 1, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff, 0xff, 0xdf, 0, 0, 0, 0, 0, 0, 0, 0x20])
        #expect(AML.window(.memory, 0x1_0000_0000..<0x2_0000_0000, width: 8).count == 3 + 43)
        #expect(AML.resources([]).bytes == [0x11, 5, 0x0a, 2, 0x79, 0])
    }
}
