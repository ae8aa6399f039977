import Hypervisor
import TestSupport
import Testing

@testable import Machine

/// Random sequences against a reference model: a level interrupt is never lost, never stuck, and never sent twice.
///
/// The model knows nothing of Remote IRR. It states what a guest relies on: whenever a level pin is unmasked and its line asserted, an
/// interrupt with its vector is in flight at a local APIC.
@Suite struct IOAPICModelTests {
    /// A local APIC as far as one vector per pin is concerned: requested (IRR) and in service (ISR).
    struct LocalAPIC {
        var requested: Set<UInt8> = []
        var inService: Set<UInt8> = []
        func holds(_ vector: UInt8) -> Bool { requested.contains(vector) || inService.contains(vector) }
    }

    struct Model {
        var level: [Bool]
        var masked: [Bool]
        var holders: [[Bool]]
        var apic = LocalAPIC()
        func isAsserted(_ pin: Int) -> Bool { holders[pin].contains(true) }
        func isDue(_ pin: Int) -> Bool { level[pin] && !masked[pin] && isAsserted(pin) }
    }

    static func vector(_ pin: Int) -> UInt8 { UInt8(0x30 + pin) }

    @Test(arguments: Array(1...12) as [UInt64])
    func neverLostNorStuck(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let routing = RoutingRecorder()
        let chip = IOAPIC(routing: routing)
        let pins = 0..<IOAPIC.pinCount
        var lines: [[any InterruptLine]] = []
        for pin in pins { lines.append(try (0..<3).map { _ in try #require(chip.line(pin)) }) }
        var model = Model(
            level: pins.map { _ in true }, masked: pins.map { _ in true }, holders: pins.map { _ in [false, false, false] })
        func program(_ pin: Int) {
            let entry = UInt64(Self.vector(pin)) | (model.level[pin] ? Bits.level : 0) | (model.masked[pin] ? Bits.masked : 0)
            chip.program(pin, entry)
        }
        for pin in pins { program(pin) }
        #expect(routing.take() == [])

        for step in 0..<1500 {
            let pin = Int(random.next() % UInt64(pins.count))
            var edges = 0
            switch random.next() % 10 {
            case 0...4:
                let holder = Int(random.next() % 3)
                let before = model.isAsserted(pin)
                model.holders[pin][holder] = Bool.random(using: &random)
                if !model.level[pin], !model.masked[pin], !before, model.isAsserted(pin) { edges = 1 }
                lines[pin][holder].setLevel(model.holders[pin][holder])
            case 5, 6:
                model.masked[pin].toggle()
                program(pin)
            case 7:
                // The guest takes whatever is requested, and ends it later.
                model.apic.inService.formUnion(model.apic.requested)
                model.apic.requested = []
            case 8:
                if let vector = model.apic.inService.sorted().randomElement(using: &random) {
                    model.apic.inService.remove(vector)
                    // Only level interrupts leave the processor as an EOI message; on the rest KVM does not exit.
                    if model.level[Int(vector) - 0x30] { chip.endOfInterrupt(vector: vector) }
                }
            default:
                // Drivers change the trigger only while the pin is quiet.
                guard step % 5 == 0, !model.apic.holds(Self.vector(pin)), !model.isAsserted(pin) else { continue }
                model.level[pin].toggle()
                program(pin)
            }
            for message in routing.take() {
                let vector = UInt8(truncatingIfNeeded: message.data)
                let target = Int(vector) - 0x30
                #expect((message.data & 0x8000 != 0) == model.level[target], "step \(step)")
                #expect(!model.masked[target], "step \(step): sent while masked")
                if model.level[target] {
                    #expect(model.isAsserted(target), "step \(step): sent for a line that is not asserted")
                    #expect(!model.apic.holds(vector), "step \(step): sent twice")
                } else {
                    #expect(target == pin)
                    edges -= 1
                }
                model.apic.requested.insert(vector)
            }
            #expect(edges == 0, "step \(step): an edge was lost or made up")
            // Plain conditions: an expectation for each pin of each step would take minutes.
            for pin in pins {
                let inFlight = model.apic.holds(Self.vector(pin))
                let remote = chip.entry(pin) & Bits.remoteIRR != 0
                let routed = routing.route(UInt32(pin)) != nil
                if model.isDue(pin), !inFlight { Issue.record("step \(step): pin \(pin) is due and lost") }
                if remote != (model.level[pin] && inFlight) { Issue.record("step \(step): pin \(pin) is stuck") }
                if routed != (model.level[pin] || !model.masked[pin]) { Issue.record("step \(step): pin \(pin) has a wrong route") }
            }
        }

        // Everything lets go; the guest ends all: nothing may remain in service.
        for pin in pins { for line in lines[pin] { line.setLevel(false) } }
        for vector in model.apic.requested.union(model.apic.inService) { chip.endOfInterrupt(vector: vector) }
        #expect(routing.take() == [])
        for pin in pins { #expect(chip.entry(pin) & Bits.remoteIRR == 0) }
    }

    @Test("Many threads on one pin: the line ends low, and nothing is in service after the last EOI")
    func threads() async throws {
        let routing = RoutingRecorder()
        let chip = IOAPIC(routing: routing)
        chip.program(16, 0x51 | Bits.level)
        let shared = try #require(chip.line(16))
        await withTaskGroup(of: Void.self) { group in
            for worker in 0..<4 {
                let own = chip.line(16)
                group.addTask { @concurrent in
                    for round in 0..<2000 {
                        own?.setLevel(round % 2 == 0)
                        shared.setLevel((round + worker) % 2 == 0)
                        if round % 3 == 0 { chip.endOfInterrupt(vector: 0x51) }
                    }
                    own?.setLevel(false)
                }
            }
        }
        shared.setLevel(false)
        chip.endOfInterrupt(vector: 0x51)
        #expect(chip.entry(16) & Bits.remoteIRR == 0)
        _ = routing.take()
        shared.setLevel(true)
        #expect(routing.take().count == 1, "the count of holders is right")
    }
}
