import GuestMemory
import Host
import Synchronization
import Testing

@testable import Hypervisor

/// What exits tell, and what is complete when.
@Suite("Virtual CPU", .enabled(if: TestHost.hasKVM, TestHost.needsKVM))
struct VirtualCPUTests {
    @Test("REP OUTSB is one exit per element, in order")
    func stringOutput() throws {
        var guest = try BareMachine(try TestHost.kvm(), ioapicPins: nil)
        // mov dx, 0x3f8; rep outsb; hlt
        try guest.load([0x66, 0xba, 0xf8, 0x03, 0xf3, 0x6e, 0xf4])
        guest.memory.write(Array("12345678".utf8), at: BareMachine.source)
        for byte in "12345678".utf8 { try guest.expect(.portOut(port: 0x3f8, width: 1, value: UInt64(byte))) }
        try guest.expect(.halt)
    }

    @Test("REP INSW asks for each element, and an unanswered one reads as all ones")
    func stringInput() throws {
        var guest = try BareMachine(try TestHost.kvm(), ioapicPins: nil)
        // mov ecx, 3; mov dx, 0x60; rep insw; hlt
        try guest.load([0xb9, 0x03, 0x00, 0x00, 0x00, 0x66, 0xba, 0x60, 0x00, 0xf3, 0x66, 0x6d, 0xf4])
        var answers: [UInt64?] = [0x1111, nil, 0x3333]
        var exit = try guest.cpu.run()
        while exit == .portIn(port: 0x60, width: 2) {
            try #require(!answers.isEmpty)
            if let answer = answers.removeFirst() { guest.cpu.completeRead(answer) }
            exit = try guest.cpu.run()
        }
        #expect(exit == .halt)
        #expect(answers.isEmpty)
        let written = guest.memory.read(at: BareMachine.target, count: 6)
        #expect(written == [0x11, 0x11, 0xff, 0xff, 0x33, 0x33])
    }

    @Test("MMIO tells address, width and value, and takes the answer of a read")
    func mmio() throws {
        var guest = try BareMachine(try TestHost.kvm(), ioapicPins: nil)
        // mov rsi, 0x100000; mov [rsi], rbx; mov byte [rsi + 3], 0x5a; mov ebx, [rsi + 8]; hlt
        try guest.load([0x48, 0xc7, 0xc6, 0x00, 0x00, 0x10, 0x00, 0x48, 0x89, 0x1e, 0xc6, 0x46, 0x03, 0x5a, 0x8b, 0x5e, 0x08, 0xf4])
        try guest.expect(.mmioWrite(address: 0x10_0000, width: 8, value: 1))
        try guest.expect(.mmioWrite(address: 0x10_0003, width: 1, value: 0x5a))
        try guest.expect(.mmioRead(address: 0x10_0008, width: 4))
        guest.cpu.completeRead(0xdead_beef)
        try guest.expect(.halt)
        let found1 = try guest.cpu.regs()
        #expect(found1.rbx == 0xdead_beef)
    }

    @Test("a requested exit completes the pending read first, so that the state can be saved")
    func exitCompletesReads() throws {
        var guest = try BareMachine(try TestHost.kvm(), ioapicPins: nil)
        // in al, 0x71; hlt
        try guest.load([0xe4, 0x71, 0xf4])
        try guest.expect(.portIn(port: 0x71, width: 1))
        guest.cpu.completeRead(0x42)
        guest.cpu.handle.requestExit()
        try guest.expect(.interrupted)
        let found2 = try guest.cpu.regs()
        #expect(found2.rax == 0x42)
        let found3 = try guest.cpu.regs()
        #expect(found3.rip == BareMachine.code + 2)
        // A request stays until it is cleared.
        try guest.expect(.interrupted)
        guest.cpu.handle.clearExitRequest()
        try guest.expect(.halt)
    }

    private static let lost = Mutex<[WorkerThread<KVMVirtualCPU>]>([])

    private func becomesReadable(_ event: EventFD) throws -> Bool {
        let poller = try Poller()
        try poller.add(event.rawValue, token: 0)
        return try poller.wait(timeoutMilliseconds: 30_000) { _ in } == 1
    }

    @Test(
        "a request from another thread gets a spinning and a halted guest out", arguments: [[0xeb, 0xfe] as [UInt8], [0xf4, 0xeb, 0xfd]])
    func kick(code: [UInt8]) throws {
        let halts = code[0] == 0xf4
        var guest = try BareMachine(try TestHost.kvm(), ioapicPins: halts ? 24 : nil)
        // out 0x10, al; then the loop
        try guest.load([0xe6, 0x10] + code)
        let handle = guest.cpu.handle
        let reached = try EventFD()
        let left = try EventFD()
        let thread = try WorkerThread(name: "vcpu", state: guest.takeCPU()) { cpu, _ in
            while true {
                switch try? cpu.run() {
                case .portOut: reached.signal()
                case .interrupted?: return left.signal()
                default:
                    Issue.record("an exit that nobody expects")
                    return left.signal()
                }
            }
        }
        // Until the guest is in its loop, or about to enter it: both must work.
        try #require(try becomesReadable(reached))
        handle.requestExit()
        guard try becomesReadable(left) else {
            Issue.record("the processor does not come out of the guest")
            // Stopping the thread would wait for ever.
            return Self.lost.withLock { $0.append(thread) }
        }
        guard let cpu = thread.stop() else {
            Issue.record("the thread had no processor to give back")
            return
        }
        let stopped = try cpu.regs().rip
        #expect((BareMachine.code...BareMachine.code + 5).contains(stopped))
    }

    @Test("state that is set is the state that is read")
    func state() throws {
        var guest = try BareMachine(try TestHost.kvm(), ioapicPins: 24)
        try guest.load([0xf4])
        let cpu = guest.takeCPU()
        var regs = try cpu.regs()
        (regs.r8, regs.r15, regs.rbp, regs.rflags) = (8, 15, 0x1234_5678_9abc_def0, 0x46)
        try cpu.setRegs(regs)
        let found4 = try cpu.regs()
        #expect(found4 == regs)
        var sregs = try cpu.sregs()
        #expect(sregs.cr3 == 0x1000 && sregs.cs.l == 1 && sregs.gdt.limit == 0x17)
        sregs.fs.base = 0x7000
        try cpu.setSregs(sregs)
        let found5 = try cpu.sregs()
        #expect(found5.fs.base == 0x7000)
        var fpu = try cpu.fpu()
        fpu.xmm[255] = 0xaa
        fpu.mxcsr = 0x1f80
        try cpu.setFPU(fpu)
        let found6 = try cpu.fpu()
        #expect(found6.xmm == fpu.xmm)
        let xsave = try cpu.xsave()
        let size = cpu.xsaveSize
        #expect(xsave.count == size && size >= 4096)
        // XMM15 in the legacy region of the XSAVE area, and the bit that says that it is in use (Intel SDM volume 1, 13.4.1 and 2).
        var changed = xsave
        changed[160 + 255] = 0x55
        changed[512] |= 2
        try cpu.setXsave(changed)
        let xsaveBack = try cpu.xsave()
        #expect(xsaveBack[160 + 255] == 0x55)
        do {
            try cpu.setXsave([1, 2, 3])
            Issue.record("a state of the wrong size was taken")
        } catch {
            #expect(error.errno == .invalidArgument)
        }
        try cpu.setXcrs(try cpu.xcrs())
        let found7 = try cpu.xcrs()
        #expect(found7.first?.xcr == 0)
        let lapic = try cpu.lapic()
        #expect(lapic.count == KVMVirtualCPU.lapicSize)
        try cpu.setLAPIC(lapic)
        try cpu.setMPState(.halted)
        let found8 = try cpu.mpState()
        #expect(found8 == .halted)
        try cpu.setMPState(.runnable)
        try cpu.setEvents(try cpu.events())
        var debug = try cpu.debugRegs()
        debug.db[2] = 0x5000
        try cpu.setDebugRegs(debug)
        let found9 = try cpu.debugRegs()
        #expect(found9 == debug)
        let found10 = try cpu.tscKHz()
        #expect(found10 > 0)
        let found11 = try cpu.cpuid()
        #expect(found11.contains { $0.function == 0x8000_0001 })
    }

    @Test("MSRs: those that KVM does not have are left out or handed back, the others go through")
    func msrs() throws {
        var guest = try BareMachine(try TestHost.kvm(), ioapicPins: 24)
        try guest.load([0xf4])
        let cpu = guest.takeCPU()
        let sysenterESP: UInt32 = 0x175
        let none: UInt32 = 0x1234_5678
        let refused = try cpu.setMSRs([
            KVMMSREntry(index: none, data: 1), KVMMSREntry(index: sysenterESP, data: 0x4000), KVMMSREntry(index: none + 1, data: 1),
        ])
        #expect(refused.map(\.index) == [none, none + 1])
        let found12 = try cpu.msrs([none, sysenterESP, none + 1])
        #expect(found12 == [KVMMSREntry(index: sysenterESP, data: 0x4000)])
        #expect(try TestHost.kvm().msrIndices().contains(0x10))
    }
}

extension BareMachine {
    /// Runs until the next exit, which must be this one.
    mutating func expect(_ expected: VCPUExit, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let exit = try cpu.run()
        #expect(exit == expected, sourceLocation: sourceLocation)
    }
}
