import GuestMemory
import Hypervisor
import Testing

@testable import Machine

@Suite("Boot state") struct BootStateTests {
    private static func memory() throws -> GuestMemory { try GuestMemory(ranges: try AddressMap(memorySize: 2 << 20).memory) }

    /// Where the page tables take a linear address; nil when it is not mapped writable.
    private func translate(_ linear: UInt64, root: UInt64, _ memory: GuestMemory) -> UInt64? {
        var table = root
        for shift: UInt64 in [39, 30, 21] {
            guard let entry: UInt64 = memory.load(at: table + (linear >> shift & 511) * 8), entry & 3 == 3 else { return nil }
            if entry & 0x80 != 0 { return entry & 0xf_ffff_ffff_f000 & ~((1 << shift) - 1) | linear & ((1 << shift) - 1) }
            table = entry & 0xf_ffff_ffff_f000
        }
        return nil
    }

    @Test("64-bit entry: long mode, the first 4 GiB one to one, rsi to the zero page (boot.rst)") func long() throws {
        let memory = try Self.memory()
        let state = BootState(.long64(address: 0x100_0200))
        state.write(into: memory)
        let sregs = state.sregs(after: KVMSregs())
        #expect(sregs.cr0 & (1 << 31 | 1) == 1 << 31 | 1)
        #expect(sregs.cr4 & 1 << 5 != 0)
        #expect(sregs.efer == 0x500)
        #expect(sregs.cs.l == 1 && sregs.cs.db == 0 && sregs.cs.selector == 0x10 && sregs.ds.selector == 0x18)
        for linear: UInt64 in [0, 0x7000, 0x10_0000, 0x3fff_ffff, 0x4000_0000, 0xbfff_ffff, 0xfee0_0000, 0xffff_ffff] {
            #expect(translate(linear, root: sregs.cr3, memory) == linear)
        }
        #expect(translate(0x1_0000_0000, root: sregs.cr3, memory) == nil)
        #expect(state.regs.rip == 0x100_0200 && state.regs.rsi == 0x7000 && state.regs.rflags == 2)
        #expect(AddressMap.bootStack.contains(state.regs.rsp - 1))
    }

    @Test("PVH entry: protected mode without paging, ebx to the start information (Xen's pvh.h)") func pvh() throws {
        let state = BootState(.pvh32(address: 0x100_0040))
        state.write(into: try Self.memory())
        let sregs = state.sregs(after: KVMSregs())
        #expect(sregs.cr0 & (1 << 31 | 1) == 1)
        #expect(sregs.cr4 == 0 && sregs.efer == 0)
        #expect(sregs.cs.l == 0 && sregs.cs.db == 1 && sregs.cs.base == 0 && sregs.cs.limit == .max)
        #expect(sregs.tr.limit == 0x67 && sregs.tr.type == 0xb)
        #expect(state.regs.rbx == AddressMap.pvhStartInfo.lowerBound && state.regs.rip == 0x100_0040)
    }

    @Test("loaded segments and their descriptors in memory agree", arguments: [Kernel.EntryPoint.long64(address: 0), .pvh32(address: 0)])
    func descriptors(entry: Kernel.EntryPoint) throws {
        let memory = try Self.memory()
        let state = BootState(entry)
        state.write(into: memory)
        let sregs = state.sregs(after: KVMSregs())
        #expect(sregs.gdt.base == AddressMap.bootGDT.lowerBound)
        #expect(sregs.gdt.base + UInt64(sregs.gdt.limit) < AddressMap.bootGDT.upperBound)
        for segment in [sregs.cs, sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss, sregs.tr] {
            let descriptor: UInt64 = try #require(memory.load(at: sregs.gdt.base + UInt64(segment.selector)))
            let limit = descriptor & 0xffff | descriptor >> 32 & 0xf_0000
            #expect(UInt64(segment.limit) == (segment.g == 1 ? limit << 12 | 0xfff : limit))
            #expect(UInt64(segment.type) == descriptor >> 40 & 0xf)
            #expect(UInt64(segment.s) == descriptor >> 44 & 1)
            #expect(UInt64(segment.present) == descriptor >> 47 & 1)
            #expect(UInt64(segment.l) == descriptor >> 53 & 1)
            #expect(UInt64(segment.db) == descriptor >> 54 & 1)
            #expect(UInt64(segment.g) == descriptor >> 55 & 1)
        }
    }

    @Test("memory is write-back, fast string operations are on") func msrs() {
        #expect(BootState.msrs.contains(KVMMSREntry(index: 0x2ff, data: 0x806)))
        #expect(BootState.msrs.contains(KVMMSREntry(index: 0x1a0, data: 1)))
    }
}
