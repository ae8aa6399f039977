import Hypervisor
import Schema

// The registers of a virtual CPU as fields, by the names of KVM's structures.

extension KVMRegs: CodedState {
    mutating func code(_ coder: inout some StateCoder) throws(StateError) {
        try coder.hex("rax", &rax)
        try coder.hex("rbx", &rbx)
        try coder.hex("rcx", &rcx)
        try coder.hex("rdx", &rdx)
        try coder.hex("rsi", &rsi)
        try coder.hex("rdi", &rdi)
        try coder.hex("rsp", &rsp)
        try coder.hex("rbp", &rbp)
        try coder.hex("r8", &r8)
        try coder.hex("r9", &r9)
        try coder.hex("r10", &r10)
        try coder.hex("r11", &r11)
        try coder.hex("r12", &r12)
        try coder.hex("r13", &r13)
        try coder.hex("r14", &r14)
        try coder.hex("r15", &r15)
        try coder.hex("rip", &rip)
        try coder.hex("rflags", &rflags)
    }
}

extension KVMSegment: CodedState {
    mutating func code(_ coder: inout some StateCoder) throws(StateError) {
        try coder.hex("base", &base)
        try coder.hex("limit", &limit)
        try coder.hex("selector", &selector)
        try coder.number("type", &type, upTo: 15)
        try coder.number("present", &present, upTo: 1)
        try coder.number("dpl", &dpl, upTo: 3)
        try coder.number("db", &db, upTo: 1)
        try coder.number("s", &s, upTo: 1)
        try coder.number("l", &l, upTo: 1)
        try coder.number("g", &g, upTo: 1)
        try coder.number("avl", &avl, upTo: 1)
        try coder.number("unusable", &unusable, upTo: 1)
    }
}

extension KVMDtable: CodedState {
    init() { self.init(base: 0, limit: 0) }

    mutating func code(_ coder: inout some StateCoder) throws(StateError) {
        try coder.hex("base", &base)
        try coder.hex("limit", &limit)
    }
}

extension KVMSregs: CodedState {
    mutating func code(_ coder: inout some StateCoder) throws(StateError) {
        try coder.nested("cs", &cs)
        try coder.nested("ds", &ds)
        try coder.nested("es", &es)
        try coder.nested("fs", &fs)
        try coder.nested("gs", &gs)
        try coder.nested("ss", &ss)
        try coder.nested("tr", &tr)
        try coder.nested("ldt", &ldt)
        try coder.nested("gdt", &gdt)
        try coder.nested("idt", &idt)
        try coder.hex("cr0", &cr0)
        try coder.hex("cr2", &cr2)
        try coder.hex("cr3", &cr3)
        try coder.hex("cr4", &cr4)
        try coder.hex("cr8", &cr8)
        try coder.hex("efer", &efer)
        try coder.hex("apicBase", &apicBase)
        try coder.hexes("interruptBitmap", &interruptBitmap, count: 4)
    }
}

extension KVMDebugRegs: CodedState {
    mutating func code(_ coder: inout some StateCoder) throws(StateError) {
        try coder.hexes("db", &db, count: 4)
        try coder.hex("dr6", &dr6)
        try coder.hex("dr7", &dr7)
        try coder.hex("flags", &flags)
    }
}

extension KVMXcr: CodedState {
    init() { self.init(xcr: 0, value: 0) }

    mutating func code(_ coder: inout some StateCoder) throws(StateError) {
        try coder.number("xcr", &xcr)
        try coder.hex("value", &value)
    }
}

extension KVMMSREntry: CodedState {
    init() { self.init(index: 0, data: 0) }

    mutating func code(_ coder: inout some StateCoder) throws(StateError) {
        try coder.hex("index", &index)
        try coder.hex("value", &data)
    }
}

extension KVMCPUIDEntry: CodedState {
    init() { self.init(function: 0) }

    mutating func code(_ coder: inout some StateCoder) throws(StateError) {
        try coder.hex("leaf", &function)
        try coder.hex("subleaf", &index)
        try coder.number("flags", &flags, upTo: 7)
        try coder.hex("eax", &eax)
        try coder.hex("ebx", &ebx)
        try coder.hex("ecx", &ecx)
        try coder.hex("edx", &edx)
    }
}

extension KVMVCPUEvents: CodedState {
    mutating func code(_ coder: inout some StateCoder) throws(StateError) {
        try coder.hex("flags", &flags)
        try coder.number("exceptionInjected", &exceptionInjected, upTo: 1)
        try coder.number("exceptionNumber", &exceptionNumber)
        try coder.number("exceptionHasErrorCode", &exceptionHasErrorCode, upTo: 1)
        try coder.number("exceptionPending", &exceptionPending, upTo: 1)
        try coder.hex("exceptionErrorCode", &exceptionErrorCode)
        try coder.number("exceptionHasPayload", &exceptionHasPayload, upTo: 1)
        try coder.hex("exceptionPayload", &exceptionPayload)
        try coder.number("interruptInjected", &interruptInjected, upTo: 1)
        try coder.number("interruptNumber", &interruptNumber)
        try coder.number("interruptSoft", &interruptSoft, upTo: 1)
        try coder.number("interruptShadow", &interruptShadow, upTo: 3)
        try coder.number("nmiInjected", &nmiInjected, upTo: 1)
        try coder.number("nmiPending", &nmiPending)
        try coder.number("nmiMasked", &nmiMasked, upTo: 1)
        try coder.number("sipiVector", &sipiVector)
        try coder.number("smm", &smm, upTo: 1)
        try coder.number("smiPending", &smiPending, upTo: 1)
        try coder.number("smmInsideNMI", &smmInsideNMI, upTo: 1)
        try coder.number("smiLatchedInit", &smiLatchedInit, upTo: 1)
        try coder.number("tripleFaultPending", &tripleFaultPending, upTo: 1)
    }
}
