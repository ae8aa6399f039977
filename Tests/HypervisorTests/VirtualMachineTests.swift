import Glibc
import GuestMemory
import Host
import Testing

@testable import Hypervisor

/// Doorbells, interrupts, the clock and the dirty log.
@Suite("Virtual machine", .enabled(if: TestHost.hasKVM, TestHost.needsKVM))
struct VirtualMachineTests {
    @Test("a descriptor that is no KVM is refused")
    func notKVM() throws {
        #expect(throws: SystemError.self) { _ = try KVMSystem(descriptor: try OwnedDescriptor.open("/dev/null", flags: O_RDWR)) }
    }

    @Test("this host has what swvmm needs")
    func capabilities() throws {
        let system = try TestHost.kvm()
        #expect(system.missingCapabilities() == [])
        #expect(system.check(.maxVCPUCount) > 0)
        #expect(try system.supportedCPUID().contains { $0.function == 0 })
        #expect(Set(KVMCapability.allCases.map(\.name)).count == KVMCapability.allCases.count)
        #expect(Set(KVMCapability.allCases.map(\.number)).count == KVMCapability.allCases.count)
    }

    @Test("a doorbell signals instead of exiting; only for its value; until it is removed")
    func doorbell() throws {
        var guest = try BareMachine(try TestHost.kvm(), ioapicPins: 24)
        let event = try EventFD()
        let matching = Doorbell(space: .mmio, address: 0x10_0000, width: 2, match: 3)
        let port = Doorbell(space: .pio, address: 0x77, width: 1, match: nil)
        let portEvent = try EventFD()
        let machine = guest.machine
        try machine.add(matching, event: event)
        try guest.machine.add(port, event: portEvent)
        #expect(throws: SystemError("KVM_IOEVENTFD", .exists)) { try machine.add(matching, event: event) }
        // mov rdi, 0x100000; mov [rdi], ax (3); mov [rdi], bx (1); out 0x77, al; out 0x10, al
        let code: [UInt8] = [
            0x48, 0xc7, 0xc7, 0x00, 0x00, 0x10, 0x00, 0x66, 0x89, 0x07, 0x66, 0x89, 0x1f, 0xe6, 0x77, 0xe6, 0x10,
        ]
        try guest.load(code)
        try guest.expect(.mmioWrite(address: 0x10_0000, width: 2, value: 1))
        #expect(event.drain())
        try guest.expect(.portOut(port: 0x10, width: 1, value: 3))
        #expect(portEvent.drain())
        try guest.machine.remove(matching, event: event)
        try guest.load(code)
        try guest.expect(.mmioWrite(address: 0x10_0000, width: 2, value: 3))
        #expect(!event.drain())
    }

    @Test("an eventfd interrupts the guest through its GSI's message; a signal from before counts once and is drained")
    func interrupts() throws {
        let system = try TestHost.kvm()
        var guest = try BareMachine(system, ioapicPins: 24)
        let router = KVMInterruptRouter(guest.machine, system: system, pins: 24)
        var lapic = try guest.cpu.lapic()
        // The spurious interrupt vector register's enable bit (Intel SDM volume 3, 11.9).
        lapic[0xf1] |= 1
        try guest.cpu.setLAPIC(lapic)
        // nop; sti; hlt; jmp hlt
        let code: [UInt8] = [0x90, 0xfb, 0xf4, 0xeb, 0xfd]
        try guest.load(code)
        let gsi = try router.allocateGSI()
        #expect(gsi == 24)
        let event = try EventFD()
        event.signal()
        try router.setMessage(MSIMessage(address: 0xfee0_0000, data: 0x1e), for: gsi)
        try router.attach(event, to: gsi)
        #expect(!event.drain())
        try guest.expect(.portOut(port: 0x5e, width: 1, value: 3))

        // A message sent by hand; one that no LAPIC takes is nobody's failure.
        try router.send(MSIMessage(address: 0xfee0_f000, data: 0x1e))
        try router.send(MSIMessage(address: 0x1234, data: 0x1e))
        try endOfInterrupt(&guest)
        try guest.load(code)
        try router.send(MSIMessage(address: 0xfee0_0000, data: 0x1d))
        try guest.expect(.portOut(port: 0x5d, width: 1, value: 3))

        // The route changes under an attached eventfd; a message that leads nowhere is no route.
        try endOfInterrupt(&guest)
        try guest.load(code)
        try router.setMessage(MSIMessage(address: 0x1234_0000_0000, data: 0x1e), for: gsi)
        event.signal()
        try router.setMessage(MSIMessage(address: 0xfee0_0000, data: 0x1f), for: gsi)
        event.signal()
        try guest.expect(.portOut(port: 0x5f, width: 1, value: 3))

        try router.detach(event, from: gsi)
        event.signal()
        #expect(event.drain())
        router.releaseGSI(gsi)
        #expect(try router.allocateGSI() == gsi)
    }

    /// Clears what the LAPIC has in service, as the guest's handler would.
    private func endOfInterrupt(_ guest: inout BareMachine) throws {
        var lapic = try guest.cpu.lapic()
        for offset in stride(from: 0x100, to: 0x180, by: 0x10) { for byte in 0..<4 { lapic[offset + byte] = 0 } }
        try guest.cpu.setLAPIC(lapic)
    }

    @Test("the routing table is written when something changed, and once for a batch")
    func batches() throws {
        let system = try TestHost.kvm()
        let guest = try BareMachine(system, ioapicPins: 24)
        let router = KVMInterruptRouter(guest.machine, system: system, pins: 24)
        try router.batch { () throws(SystemError) in
            for pin in UInt32(0)..<24 { try router.setMessage(MSIMessage(address: 0xfee0_0000, data: 0x30 + pin), for: pin) }
            try router.batch { () throws(SystemError) in try router.setMessage(nil, for: 2) }
        }
        #expect(router.tableWrites == 1)
        try router.setMessage(MSIMessage(address: 0xfee0_0000, data: 0x30), for: 0)
        try router.setMessage(nil, for: 40)
        #expect(router.tableWrites == 1)
        try router.setMessage(nil, for: 0)
        #expect(router.tableWrites == 2)
        #expect(throws: SystemError.self) { try router.setMessage(nil, for: .max) }
        #expect(throws: SystemError("body", .busy)) {
            try router.batch { () throws(SystemError) in
                try router.setMessage(nil, for: 1)
                throw SystemError("body", .busy)
            }
        }
        #expect(router.tableWrites == 3)
    }

    @Test("the clock can be set back and runs on")
    func clock() throws {
        let guest = try BareMachine(try TestHost.kvm(), ioapicPins: 24)
        try guest.machine.setClock(KVMClockData(clock: 1 << 50))
        let now = try guest.machine.clock()
        #expect(now.clock >= 1 << 50 && now.clock < 1 << 51)
    }

    @Test("the dirty log names the pages that the guest wrote since the last look")
    func dirtyLog() throws {
        var guest = try BareMachine(try TestHost.kvm(), ioapicPins: nil, logDirtyPages: true)
        // mov [rdi], al; hlt
        try guest.load([0x88, 0x07, 0xf4])
        _ = try guest.machine.dirtyLog(region: 0)
        try guest.expect(.halt)
        let page = BareMachine.target / 4096
        let machine = guest.machine
        #expect(try machine.dirtyLog(region: 0)[0] >> page & 1 == 1)
        #expect(try machine.dirtyLog(region: 0)[0] >> page & 1 == 0)
        #expect(throws: SystemError.self) { try machine.dirtyLog(region: 1) }
    }
}
