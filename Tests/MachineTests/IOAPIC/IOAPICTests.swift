import Host
import Hypervisor
import Schema
import Synchronization
import TestSupport
import Testing

@testable import Machine

@Suite struct IOAPICTests {
    let routing = RoutingRecorder()
    let chip: IOAPIC

    init() { chip = IOAPIC(id: 3, routing: routing) }

    func line(_ pin: Int) throws -> any InterruptLine { try #require(chip.line(pin)) }

    @Test("82093AA, 3.2: id, version 0x20 with 24 entries, arbitration id; out of reset every pin is masked")
    func identification() {
        #expect(chip.readIndexed(0) == 3 << 24)
        #expect(chip.readIndexed(1) == 0x17_0020)
        #expect(chip.readIndexed(2) == 3 << 24)
        chip.writeIndexed(0, 0xFFFF_FFFF)
        #expect(chip.readIndexed(0) == 15 << 24)
        chip.writeIndexed(1, 0)
        chip.writeIndexed(2, 0)
        #expect(chip.readIndexed(1) == 0x17_0020)
        #expect(chip.readIndexed(2) == 15 << 24)
        for pin in 0..<24 { #expect(chip.entry(pin) == Bits.masked) }
        #expect(chip.read(at: 0, width: 4) == 0x10 + 47)
    }

    @Test("Indices without a register read as 0 and ignore writes")
    func wildIndices() {
        let before = chip.state
        for index in Array(UInt64(3)...0x0F) + Array(0x40...0xFF) {
            chip.writeIndexed(index, 0xFFFF_FFFF)
            #expect(chip.readIndexed(index) == 0)
        }
        chip.write(0, at: 0, width: 4)
        #expect(chip.state == changing(before, "registerSelect", to: 0))
        #expect(chip.line(-1) == nil)
        #expect(chip.line(24) == nil)
    }

    @Test("82093AA, 3.2.4: delivery status and Remote IRR are read-only, reserved bits are 0")
    func writableBits() {
        chip.program(2, .max)
        #expect(chip.entry(2) == 0xFF00_0000_0001_AFFF)
    }

    @Test("SDM 3, 11.11: the message says destination, destination mode, vector, delivery mode, level and trigger")
    func messages() {
        func route(_ entry: UInt64) -> MSIMessage? {
            chip.program(7, entry)
            return routing.route(7)
        }
        #expect(route(0x31) == MSIMessage(address: 0xFEE0_0000, data: 0x31))
        #expect(route(0x31 | Bits.destination(0x81)) == MSIMessage(address: 0xFEE8_1000, data: 0x31))
        #expect(route(0x31 | Bits.destination(3) | Bits.logical) == MSIMessage(address: 0xFEE0_3004, data: 0x31))
        #expect(route(0x131 | Bits.logical) == MSIMessage(address: 0xFEE0_000C, data: 0x131), "lowest priority: redirection hint")
        #expect(route(0x31 | Bits.level | Bits.activeLow) == MSIMessage(address: 0xFEE0_0000, data: 0xC031))
        #expect(route(0x400) == MSIMessage(address: 0xFEE0_0000, data: 0x400), "NMI needs no vector")
        #expect(route(0x400 | Bits.level) == MSIMessage(address: 0xFEE0_0000, data: 0x400), "NMI is always an edge")
        for entry in [0x0F, 0x331, 0x631, 0x731] as [UInt64] { #expect(route(entry) == nil, "\(entry)") }
    }

    @Test("Interrupt mask: a masked edge pin has no route, so edges are dropped; each write updates the route")
    func edgeRoutes() {
        chip.program(4, 0x44 | Bits.masked)
        #expect(routing.route(4) == nil)
        chip.program(4, 0x44)
        #expect(routing.route(4)?.data == 0x44)
        chip.program(4, 0x45 | Bits.destination(1))
        #expect(routing.route(4) == MSIMessage(address: 0xFEE0_1000, data: 0x45))
        chip.program(4, 0x45 | Bits.masked)
        #expect(routing.route(4) == nil)
        #expect(routing.take() == [])
    }

    @Test("A level pin keeps its route while masked: KVM reports only EOIs that it finds in the table")
    func levelRoutes() {
        chip.program(16, 0x51 | Bits.level)
        let changes = routing.contents.withLock { $0.changes }
        chip.program(16, 0x51 | Bits.level | Bits.masked)
        chip.program(16, 0x51 | Bits.level)
        #expect(routing.route(16)?.data == 0xC051)
        #expect(routing.contents.withLock { $0.changes } == changes, "masking costs no change of the routing table")
    }

    @Test("Remote IRR: a level is sent once until its EOI, and again after it while the line is asserted")
    func level() throws {
        chip.program(16, 0x51 | Bits.level)
        let line = try line(16)
        line.setLevel(true)
        #expect(routing.take().map(\.data) == [0xC051])
        #expect(chip.entry(16) & Bits.remoteIRR != 0)
        line.setLevel(true)
        line.setLevel(false)
        line.setLevel(true)
        #expect(routing.take() == [], "still in service")
        chip.endOfInterrupt(vector: 0x50)
        #expect(routing.take() == [], "another vector")
        chip.endOfInterrupt(vector: 0x51)
        #expect(routing.take().map(\.data) == [0xC051])
        line.setLevel(false)
        chip.write(0x51, at: 0x40, width: 4)  // the EOI register
        #expect(routing.take() == [])
        #expect(chip.entry(16) & Bits.remoteIRR == 0)
    }

    @Test("A level that comes while masked is sent at unmasking; one that is gone by then is not")
    func maskedLevel() throws {
        let line = try line(17)
        chip.program(17, 0x52 | Bits.level | Bits.masked)
        line.setLevel(true)
        #expect(routing.take() == [])
        chip.program(17, 0x52 | Bits.level)
        #expect(routing.take().count == 1)
        chip.program(17, 0x52 | Bits.level | Bits.masked)
        chip.endOfInterrupt(vector: 0x52)
        #expect(chip.entry(17) & Bits.remoteIRR == 0, "an EOI counts while masked")
        line.setLevel(false)
        chip.program(17, 0x52 | Bits.level)
        #expect(routing.take() == [])
    }

    @Test("A shared line is the OR of its holders, and a holder that goes lets go")
    func wiredOr() throws {
        chip.program(18, 0x53 | Bits.level)
        let first = try line(18)
        do {
            let second = try line(18)
            first.setLevel(true)
            second.setLevel(true)
            #expect(routing.take().count == 1)
            first.setLevel(false)
            chip.endOfInterrupt(vector: 0x53)
            #expect(routing.take().count == 1, "the second still asserts it")
            withExtendedLifetime(second) {}
        }
        chip.endOfInterrupt(vector: 0x53)
        #expect(routing.take() == [])
        first.setLevel(true)
        #expect(routing.take().count == 1)
        withExtendedLifetime(first) {}
    }

    @Test("Pins with one vector end together, and each asserted one is sent again")
    func sharedVector() throws {
        for pin in [16, 17] { chip.program(pin, 0x60 | Bits.level) }
        let first = try line(16)
        let second = try line(17)
        first.setLevel(true)
        second.setLevel(true)
        #expect(routing.take().count == 2)
        first.setLevel(false)
        chip.endOfInterrupt(vector: 0x60)
        #expect(routing.take().count == 1)
        #expect(chip.entry(16) & Bits.remoteIRR == 0)
        #expect(chip.entry(17) & Bits.remoteIRR != 0)
        withExtendedLifetime(second) {}
    }

    @Test("Switching to edge and back clears Remote IRR (how Linux ends an interrupt without an EOI register)")
    func edgeClearsRemoteIRR() throws {
        chip.program(16, 0x51 | Bits.level)
        let line = try line(16)
        line.setLevel(true)
        #expect(routing.take().count == 1)
        chip.program(16, 0x51 | Bits.masked)
        #expect(chip.entry(16) & Bits.remoteIRR == 0)
        chip.program(16, 0x51 | Bits.level)
        #expect(routing.take().count == 1, "the line is still asserted")
        withExtendedLifetime(line) {}
    }

    @Test("A line on a pin that is programmed as edge: each rise is one interrupt, none while masked")
    func lineOnEdgePin() throws {
        let line = try line(5)
        chip.program(5, 0x35)
        line.setLevel(true)
        line.setLevel(false)
        line.setLevel(true)
        #expect(routing.take().map(\.data) == [0x35, 0x35])
        line.setLevel(false)
        chip.program(5, 0x35 | Bits.masked)
        line.setLevel(true)
        chip.program(5, 0x35)
        #expect(routing.take() == [], "not held pending")
    }

    @Test("A refused message is reported and tried again at the next event; a refused route is reported")
    func failures() throws {
        let failures = Recorder<String>()
        let chip = IOAPIC(routing: routing, onFailure: { failures.add($0.call) })
        chip.program(16, 0x51 | Bits.level)
        let line = try #require(chip.line(16))
        routing.contents.withLock { $0.refuses = true }
        line.setLevel(true)
        #expect(failures.take() == ["KVM_SIGNAL_MSI"])
        #expect(chip.entry(16) & Bits.remoteIRR == 0)
        routing.contents.withLock { $0.refusal = .notPermitted }
        line.setLevel(false)
        line.setLevel(true)
        #expect(failures.take() == [], "no APIC at the destination: the guest's mistake")
        #expect(chip.entry(16) & Bits.remoteIRR == 0)
        chip.program(6, 0x40)
        #expect(failures.take().last == "KVM_SET_GSI_ROUTING")
        #expect(refusal(chip, chip.state)?.contains("KVM_SET_GSI_ROUTING") == true)
        routing.contents.withLock { $0.refuses = false }
        chip.reconcile { _ in false }
        #expect(routing.take().map(\.data) == [0xC051])
        withExtendedLifetime(line) {}
    }

    @Test("Accesses of other widths: narrow writes are extended with zeros, narrow reads cut off; other offsets are empty")
    func widths() {
        chip.write(0x1_0010, at: 0, width: 1)
        #expect(chip.read(at: 0, width: 1) == 0x10)
        chip.write(0xFFFF_FF31, at: 0x10, width: 1)
        #expect(chip.read(at: 0x10, width: 4) == 0x31)
        #expect(chip.read(at: 0x10, width: 8) == 0x31)
        chip.write(0x1_8031, at: 0x10, width: 8)
        #expect(chip.read(at: 0x10, width: 2) == 0x8031)
        #expect(chip.read(at: 0x20, width: 4) == 0)
        #expect(chip.read(at: 0x40, width: 4) == 0)
    }

    @Test("Random accesses do no harm", arguments: [1, 2, 3, 4] as [UInt64])
    func fuzz(seed: UInt64) throws {
        let line = try line(0)
        line.setLevel(true)
        #expect(poke(chip, range: 0x44, seed: seed) == nil)
        var random = SeededRandom(seed: seed)
        for _ in 0..<20_000 {
            chip.writeIndexed(random.next() & 0xFF, random.next())
            _ = chip.readIndexed(random.next())
            chip.endOfInterrupt(vector: UInt8(truncatingIfNeeded: random.next()))
        }
        for pin in UInt32(0)..<24 {
            guard let route = routing.route(pin) else { continue }
            #expect(route.address >> 20 == 0xFEE)
        }
        #expect(routing.contents.withLock { $0.routes.keys.allSatisfy { $0 < 24 } })
        withExtendedLifetime(line) {}
    }
}

@Suite struct IOAPICStateTests {
    let routing = RoutingRecorder()

    @Test("A saved chip comes back whole: registers, routes and what is in service")
    func roundTrip() throws {
        let chip = IOAPIC(id: 1, routing: routing)
        chip.program(16, 0x51 | Bits.level | Bits.activeLow | Bits.logical | Bits.destination(9))
        chip.program(4, 0x134)
        let line = try #require(chip.line(16))
        line.setLevel(true)
        chip.write(0x25, at: 0, width: 4)
        let state = chip.state
        let pins = try #require(field(state, "pins"))
        guard case .array(let entries) = pins else { return #expect(Bool(false)) }
        #expect(
            entries[16] == [
                "vector": 0x51, "delivery": "fixed", "destination": 9, "destinationMode": "logical", "polarity": "low",
                "trigger": "level", "masked": false, "remoteIRR": true, "asserted": true,
            ])
        let other = RoutingRecorder()
        let copy = IOAPIC(routing: other)
        let held = try #require(copy.line(16))
        held.setLevel(true)
        try copy.restore(SavedValue(state))
        #expect(copy.state == state)
        #expect(other.take() == [], "a restore sends nothing")
        #expect(other.contents.withLock { $0.routes } == routing.contents.withLock { $0.routes })
        copy.endOfInterrupt(vector: 0x51)
        #expect(other.take().map(\.data) == [0xC051])
        withExtendedLifetime((line, held)) {}
    }

    @Test("Design §9: an EOI that was on its way when the VM stopped is found by asking the local APICs")
    func lostEOI() throws {
        let chip = IOAPIC(routing: routing)
        chip.program(16, 0x51 | Bits.level)
        chip.program(17, 0x52 | Bits.level)
        let lines = try [#require(chip.line(16)), #require(chip.line(17))]
        for line in lines { line.setLevel(true) }
        #expect(routing.take().count == 2)
        chip.reconcile { $0 == 0x52 }
        #expect(routing.take().map(\.data) == [0xC051], "17 is still in flight, 16 is sent again")
        lines[0].setLevel(false)
        chip.reconcile { _ in false }
        #expect(chip.entry(16) & Bits.remoteIRR == 0)
        #expect(chip.entry(17) & Bits.remoteIRR != 0)
    }

    @Test("A state with a wrong field is refused in a sentence that names it, and changes nothing")
    func refusals() throws {
        let chip = IOAPIC(routing: routing)
        chip.program(3, 0x33)
        let state = chip.state
        guard case .array(let entries)? = field(state, "pins") else { return #expect(Bool(false)) }
        func with(_ entry: JSONValue) -> JSONValue { changing(state, "pins", to: .array([entry] + entries.dropFirst())) }
        #expect(refusal(chip, changing(state, "id", to: 16)) == "device.id: expected an integer from 0 to 15, found 16.")
        #expect(refusal(chip, changing(state, "pins", to: [])) == "device.pins: expected an array of 24 elements, found 0.")
        #expect(refusal(chip, with(changing(entries[0], "vector", to: 300)))?.hasPrefix("device.pins[0].vector: expected") == true)
        #expect(refusal(chip, with(changing(entries[0], "trigger", to: "sometimes")))?.contains("edge, level") == true)
        #expect(refusal(chip, with(changing(entries[0], "remoteIRR", to: true)))?.contains("not level-triggered") == true)
        #expect(
            refusal(chip, with(changing(entries[0], "colour", to: "red")))?
                .hasPrefix("device.pins[0].colour: expected no field of this name; known here: asserted, delivery, destination,") == true)
        #expect(refusal(chip, .null) == "device: expected an object, found null.")
        #expect(chip.state == state)
    }
}
