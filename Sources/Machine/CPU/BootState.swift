public import GuestMemory
public import Hypervisor
import Virtqueue
import Virtqueue

/// The state in which the first virtual CPU enters a kernel. The others wait for INIT and SIPI, as after power-on.
public struct BootState: Sendable, Equatable {
    private let entry: Kernel.EntryPoint

    /// The state for an entry point.
    public init(_ entry: Kernel.EntryPoint) { self.entry = entry }

    /// Writes what the state points to, descriptor table and page tables, into guest memory.
    public func write(into memory: GuestMemory) {
        for (index, descriptor) in Self.descriptors(entry).enumerated() {
            memory.store(descriptor, at: AddressMap.bootGDT.lowerBound + UInt64(index) * 8)
        }
        if case .long64 = entry { Self.writePageTables(into: memory) }
    }

    /// General registers. Linux's 64-bit protocol wants the zero page in rsi, PVH wants hvm_start_info in ebx.
    public var regs: KVMRegs {
        var regs = KVMRegs()
        switch entry {
        case .long64(let address):
            regs.rip = address
            regs.rsi = AddressMap.zeroPage.lowerBound
            regs.rsp = AddressMap.bootStack.upperBound
        case .pvh32(let address):
            regs.rip = address
            regs.rbx = AddressMap.pvhStartInfo.lowerBound
        }
        return regs
    }

    /// Segments and control registers, on top of the state after reset.
    public func sregs(after reset: KVMSregs) -> KVMSregs {
        var sregs = reset
        let isLong = if case .long64 = entry { true } else { false }
        var code = KVMSegment()
        code.limit = 0xffff_ffff
        code.selector = 0x10
        code.type = 0xb
        code.present = 1
        code.s = 1
        code.g = 1
        code.l = isLong ? 1 : 0
        code.db = isLong ? 0 : 1
        var data = code
        data.selector = 0x18
        data.type = 0x3
        data.l = 0
        data.db = 1
        var task = KVMSegment()
        task.limit = 0x67
        task.selector = 0x20
        task.type = 0xb
        task.present = 1
        sregs.cs = code
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data)
        sregs.tr = task
        sregs.gdt = KVMDtable(base: AddressMap.bootGDT.lowerBound, limit: UInt16(Self.descriptors(entry).count * 8 - 1))
        sregs.idt = KVMDtable(base: 0, limit: 0)
        let protectedMode: UInt64 = 1 << 0
        let extensionType: UInt64 = 1 << 4
        let numericError: UInt64 = 1 << 5
        let paging: UInt64 = 1 << 31
        sregs.cr0 = protectedMode | extensionType | numericError
        sregs.cr4 = 0
        if isLong {
            sregs.cr0 |= paging
            sregs.cr3 = AddressMap.bootPageTables.lowerBound
            sregs.cr4 = 1 << 5  // PAE
            sregs.efer = 1 << 8 | 1 << 10  // LME, LMA
        }
        return sregs
    }

    /// Flat segments under the selectors that Linux's boot protocol fixes: 0x10 code, 0x18 data; and a task state.
    private static func descriptors(_ entry: Kernel.EntryPoint) -> [UInt64] {
        let code: UInt64 =
            switch entry {
            case .long64: 0x00af_9b00_0000_ffff
            case .pvh32: 0x00cf_9b00_0000_ffff
            }
        return [0, 0, code, 0x00cf_9300_0000_ffff, 0x0000_8b00_0000_0067, 0]
    }

    /// Maps the first 4 GiB one to one with pages of 2 MiB: one root, one table of four directories.
    private static func writePageTables(into memory: GuestMemory) {
        let start = AddressMap.bootPageTables.lowerBound
        let presentAndWritable: UInt64 = 0x3
        let large: UInt64 = 0x80
        memory.store(start + 0x1000 | presentAndWritable, at: start)
        for directory in 0..<UInt64(4) {
            let table = start + 0x2000 + directory * 0x1000
            memory.store(table | presentAndWritable, at: start + 0x1000 + directory * 8)
            guard let entries = memory.range(at: table, count: 4096) else { continue }
            for index in 0..<UInt64(512) {
                entries.store((directory << 30 | index << 21) | presentAndWritable | large, at: Int(index * 8))
            }
            memory.markWritten(entries)
        }
    }

    /// Model-specific registers as firmware leaves them: fast string operations on, all memory write-back, time stamp at zero.
    public static let msrs = [
        KVMMSREntry(index: 0x1a0, data: 1),
        KVMMSREntry(index: 0x2ff, data: 1 << 11 | 6),
        KVMMSREntry(index: 0x10, data: 0),
    ]
}
