import GuestMemory
import Host
import Testing

@testable import Hypervisor

/// The bare-metal payloads of Tests/Guests, on nothing but this module.
@Suite("Payloads", .enabled(if: TestHost.hasKVM, TestHost.needsKVM))
struct PayloadTests {
    private static let zeroPage: UInt64 = 0x7000
    private static let startInfo: UInt64 = 0x6000
    private static let commandLine: UInt64 = 0x2_0000

    @Test("hello, entered in long mode as Linux is, prints and ends with the code it was asked for")
    func longMode() throws {
        let output = try run("hello", commandLine: "quiet exit=42 more") { guest, entry throws(SystemError) in
            // boot_params.hdr.cmd_line_ptr (Linux boot protocol).
            guest.memory.store(UInt32(Self.commandLine), at: Self.zeroPage + 0x228)
            var sregs = try guest.cpu.sregs()
            BootTables.enterLongMode(&sregs, guest.memory)
            try guest.cpu.setSregs(sregs)
            var regs = KVMRegs()
            regs.rip = entry
            regs.rsi = Self.zeroPage
            try guest.cpu.setRegs(regs)
        }
        #expect(output.text == "hello from long mode\ncommand line: quiet exit=42 more\nmemory map entries: 0\n")
        #expect(output.code == 42)
    }

    @Test("hello-pvh, entered in protected mode, finds its way to long mode")
    func pvh() throws {
        let output = try run("hello-pvh", commandLine: "exit=7") { guest, _ throws(SystemError) in
            // hvm_start_info: magic and command line (Xen's PVH boot protocol).
            guest.memory.store(0x336e_c578 as UInt32, at: Self.startInfo)
            guest.memory.store(Self.commandLine, at: Self.startInfo + 24)
            var sregs = try guest.cpu.sregs()
            BootTables.enterProtectedMode(&sregs)
            try guest.cpu.setSregs(sregs)
            var regs = KVMRegs()
            regs.rip = UInt64(guest.pvhEntry)
            regs.rbx = Self.startInfo
            try guest.cpu.setRegs(regs)
        }
        #expect(output.text == "hello from PVH\ncommand line: exit=7\nmemory map entries: 0\n")
        #expect(output.code == 7)
    }

    private struct Guest: ~Copyable {
        let memory: GuestMemory
        var cpu: KVMVirtualCPU
        let pvhEntry: UInt32
    }

    private func run(
        _ name: String, commandLine: String, enter: (inout Guest, UInt64) throws(SystemError) -> Void
    ) throws -> (text: String, code: UInt64) {
        let system = try TestHost.kvm()
        let elf = try ELFFile(try readWholeFile(try TestHost.payloads() + "/" + name, limit: 1 << 20))
        let memory = try GuestMemory(ranges: [0..<4 << 20])
        for segment in elf.segments { try #require(memory.write(segment.bytes, at: segment.address)) }
        try #require(memory.write(Array(commandLine.utf8) + [0], at: Self.commandLine))
        let machine = try KVMVirtualMachine(
            system, .init(memory: memory, ioapicPins: 24, taskStateAddress: 0xfeff_d000, identityMapAddress: 0xfeff_c000))
        let cpu = try machine.makeVirtualCPU(id: 0)
        try cpu.setCPUID(try system.supportedCPUID())
        var guest = Guest(memory: memory, cpu: cpu, pvhEntry: elf.pvhEntry ?? 0)
        try enter(&guest, elf.entry)
        var text: [UInt8] = []
        // More exits than these payloads can need end the test.
        for _ in 0..<10_000 {
            switch try guest.cpu.run() {
            case .portOut(0x3f8, 1, let value): text.append(UInt8(truncatingIfNeeded: value))
            case .portOut(0x501, 1, let value): return (String(decoding: text, as: UTF8.self), value)
            case .internalError(let error): throw try guest.cpu.diagnose(error)
            case let exit:
                Issue.record("unexpected exit \(exit)")
                return ("", 0)
            }
        }
        Issue.record("the payload does not end")
        return ("", 0)
    }
}

/// As much of an ELF file as a payload needs.
private struct ELFFile {
    struct Malformed: Error {}

    var entry: UInt64 = 0
    var pvhEntry: UInt32?
    var segments: [(address: UInt64, bytes: [UInt8])] = []

    init(_ file: [UInt8]) throws {
        func integer(_ offset: Int, _ width: Int) throws -> UInt64 {
            guard offset >= 0, offset + width <= file.count else { throw Malformed() }
            return (0..<width).reduce(0) { $0 | UInt64(file[offset + $1]) << (8 * UInt64($1)) }
        }
        guard file.starts(with: [0x7f, 0x45, 0x4c, 0x46, 2, 1]) else { throw Malformed() }
        entry = try integer(24, 8)
        let headers = Int(try integer(32, 8))
        for index in 0..<Int(try integer(56, 2)) {
            let header = headers + index * 56
            let offset = Int(try integer(header + 8, 8))
            let size = Int(try integer(header + 32, 8))
            guard offset + size <= file.count else { throw Malformed() }
            switch try integer(header, 4) {
            case 1: segments.append((try integer(header + 24, 8), Array(file[offset..<offset + size])))
            // One note: "Xen", XEN_ELFNOTE_PHYS32_ENTRY, four bytes.
            case 4 where try integer(offset + 8, 4) == 18: pvhEntry = UInt32(truncatingIfNeeded: try integer(offset + 16, 4))
            default: break
            }
        }
    }
}

/// The two ways into a kernel, as far as a payload needs them.
private enum BootTables {
    static func enterLongMode(_ sregs: inout KVMSregs, _ memory: GuestMemory) {
        memory.store(0xa003 as UInt64, at: 0x9000)
        memory.store(0xb003 as UInt64, at: 0xa000)
        for index in UInt64(0)..<512 { memory.store(index << 21 | 0x83, at: 0xb000 + index * 8) }
        sregs.cs = segment(type: 11, selector: 0x10, isLong: true)
        setData(&sregs)
        sregs.cr0 = 0x8000_0031
        sregs.cr3 = 0x9000
        sregs.cr4 = 0x20
        sregs.efer = 0x500
    }

    static func enterProtectedMode(_ sregs: inout KVMSregs) {
        sregs.cs = segment(type: 11, selector: 0x10, isLong: false)
        setData(&sregs)
        sregs.cr0 = 0x11
        sregs.cr4 = 0
        sregs.efer = 0
    }

    private static func setData(_ sregs: inout KVMSregs) {
        let data = segment(type: 3, selector: 0x18, isLong: false)
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data)
    }

    private static func segment(type: UInt8, selector: UInt16, isLong: Bool) -> KVMSegment {
        var segment = KVMSegment()
        segment.limit = 0xffff_ffff
        segment.selector = selector
        segment.type = type
        segment.present = 1
        segment.s = 1
        segment.g = 1
        segment.l = isLong ? 1 : 0
        segment.db = isLong ? 0 : 1
        return segment
    }
}
