import CLinux

/// A segment register with its hidden part (struct kvm_segment).
public struct KVMSegment: Sendable, Hashable {
    /// Linear address of the first byte.
    public var base: UInt64 = 0
    /// Offset of the last byte, in bytes.
    public var limit: UInt32 = 0
    /// The selector.
    public var selector: UInt16 = 0
    /// The type, 4 bits.
    public var type: UInt8 = 0
    /// 1 when present.
    public var present: UInt8 = 0
    /// Privilege level, 0 … 3.
    public var dpl: UInt8 = 0
    /// 1: operands are 32 bits wide by default.
    public var db: UInt8 = 0
    /// 0: a system segment; 1: code or data.
    public var s: UInt8 = 0
    /// 1: 64-bit code.
    public var l: UInt8 = 0
    /// 1: the descriptor counts its limit in pages.
    public var g: UInt8 = 0
    /// Free for software.
    public var avl: UInt8 = 0
    /// 1: holds no segment.
    public var unusable: UInt8 = 0

    /// All zero.
    public init() {}

    init(_ segment: kvm_segment) {
        base = segment.base
        limit = segment.limit
        selector = segment.selector
        type = segment.type
        present = segment.present
        dpl = segment.dpl
        db = segment.db
        s = segment.s
        l = segment.l
        g = segment.g
        avl = segment.avl
        unusable = segment.unusable
    }

    var kernel: kvm_segment {
        kvm_segment(
            base: base, limit: limit, selector: selector, type: type, present: present, dpl: dpl, db: db, s: s, l: l, g: g, avl: avl,
            unusable: unusable, padding: 0)
    }
}

/// GDTR or IDTR (struct kvm_dtable).
public struct KVMDtable: Sendable, Hashable {
    /// Linear address of the table.
    public var base: UInt64
    /// Offset of the last byte, in bytes.
    public var limit: UInt16

    /// A table register.
    public init(base: UInt64 = 0, limit: UInt16 = 0) {
        self.base = base
        self.limit = limit
    }

    init(_ table: kvm_dtable) { self.init(base: table.base, limit: table.limit) }

    var kernel: kvm_dtable { kvm_dtable(base: base, limit: limit, padding: (0, 0, 0)) }
}

/// Segment, table and control registers (struct kvm_sregs).
public struct KVMSregs: Sendable, Hashable {
    /// CS.
    public var cs = KVMSegment()
    /// DS.
    public var ds = KVMSegment()
    /// ES.
    public var es = KVMSegment()
    /// FS.
    public var fs = KVMSegment()
    /// GS.
    public var gs = KVMSegment()
    /// SS.
    public var ss = KVMSegment()
    /// TR.
    public var tr = KVMSegment()
    /// LDT.
    public var ldt = KVMSegment()
    /// GDTR.
    public var gdt = KVMDtable()
    /// IDTR.
    public var idt = KVMDtable()
    /// CR0.
    public var cr0: UInt64 = 0
    /// CR2.
    public var cr2: UInt64 = 0
    /// CR3.
    public var cr3: UInt64 = 0
    /// CR4.
    public var cr4: UInt64 = 0
    /// CR8.
    public var cr8: UInt64 = 0
    /// EFER.
    public var efer: UInt64 = 0
    /// IA32_APIC_BASE.
    public var apicBase: UInt64 = 0
    /// The vector of an interrupt that is to be injected, as a bit; with the LAPIC in the kernel at most one, taken by the processor
    /// but not yet delivered.
    public var interruptBitmap: [UInt64] = [0, 0, 0, 0]

    /// All zero. Start from what KVM reports instead, and change what matters.
    public init() {}

    init(_ sregs: kvm_sregs) {
        cs = KVMSegment(sregs.cs)
        ds = KVMSegment(sregs.ds)
        es = KVMSegment(sregs.es)
        fs = KVMSegment(sregs.fs)
        gs = KVMSegment(sregs.gs)
        ss = KVMSegment(sregs.ss)
        tr = KVMSegment(sregs.tr)
        ldt = KVMSegment(sregs.ldt)
        gdt = KVMDtable(sregs.gdt)
        idt = KVMDtable(sregs.idt)
        cr0 = sregs.cr0
        cr2 = sregs.cr2
        cr3 = sregs.cr3
        cr4 = sregs.cr4
        cr8 = sregs.cr8
        efer = sregs.efer
        apicBase = sregs.apic_base
        let bits = sregs.interrupt_bitmap
        interruptBitmap = [bits.0, bits.1, bits.2, bits.3]
    }

    var kernel: kvm_sregs {
        let bits = interruptBitmap + [0, 0, 0, 0]
        return kvm_sregs(
            cs: cs.kernel, ds: ds.kernel, es: es.kernel, fs: fs.kernel, gs: gs.kernel, ss: ss.kernel, tr: tr.kernel, ldt: ldt.kernel,
            gdt: gdt.kernel, idt: idt.kernel, cr0: cr0, cr2: cr2, cr3: cr3, cr4: cr4, cr8: cr8, efer: efer, apic_base: apicBase,
            interrupt_bitmap: (bits[0], bits[1], bits[2], bits[3]))
    }
}
