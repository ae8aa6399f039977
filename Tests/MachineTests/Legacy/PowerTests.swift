import Host
import Schema
import Testing

@testable import Machine

@Suite struct PowerTests {
    let events = EventRecorder()

    @Test("ACPI 6.5, 4.8.3.7: SLP_EN with S5's SLP_TYP switches off, everything else does not")
    func sleepControl() {
        let device = SleepControl(events: events)
        for value in UInt64(0)...255 where value & 0x3C != 0x34 {
            device.write(value, at: 0, width: 1)
            #expect(events.take() == [], "\(value)")
        }
        device.write(0x34, at: SleepControl.statusOffset, width: 1)
        #expect(events.take() == [])
        device.write(UInt64(SleepControl.sleepTypeS5) << 2 | 1 << 5, at: SleepControl.controlOffset, width: 1)
        #expect(events.take() == [.powerOff])
        #expect(device.read(at: 0, width: 1) == 0x14, "SLP_EN is write-only")
        #expect(device.read(at: 1, width: 1) == 0)
    }

    @Test("A reset happens when RST_CPU rises")
    func resetRegister() {
        let device = ResetRegister(events: events)
        device.write(0x02, at: 0, width: 1)
        #expect(events.take() == [])
        device.write(0x0E, at: 0, width: 1)
        #expect(events.take() == [.reset])
        #expect(device.read(at: 0, width: 1) == 0x0E)
        device.write(0x06, at: 0, width: 1)
        #expect(events.take() == [], "the bit was set already")
        device.write(0x00, at: 0, width: 1)
        device.write(UInt64(ResetRegister.resetValue), at: 0, width: 1)
        #expect(events.take() == [.reset])
    }

    @Test("PCI 3.0, 3.2.2.3.2: only 32-bit accesses are CONFIG_ADDRESS; the byte at 0xCF9 resets")
    func sharedPorts() {
        let other = ResetRegister(events: EventRecorder())  // stands for CONFIG_ADDRESS: it keeps what is written at offset 0
        let device = ConfigurationAddressPorts(configuration: other, reset: ResetRegister(events: events))
        device.write(0x0606_0606, at: 0, width: 4)
        #expect(events.take() == [])
        #expect(device.read(at: 0, width: 1) == 0x06)
        device.write(0x06, at: 1, width: 1)
        #expect(events.take() == [.reset])
        #expect(device.read(at: 1, width: 1) == 0x06)
    }

    @Test("pvpanic offers and takes bits 0 and 1")
    func panic() {
        let device = PVPanic(events: events)
        #expect(device.read(at: 0, width: 1) == 0x03)
        device.write(0x01, at: 0, width: 1)
        device.write(0x02, at: 0, width: 1)
        device.write(0x03, at: 0, width: 1)
        device.write(0xFC, at: 0, width: 1)
        #expect(events.take() == [.panic(crashLoaded: false), .panic(crashLoaded: true), .panic(crashLoaded: false)])
    }

    @Test("The byte at the debug exit port is the code")
    func debugExit() {
        let device = DebugExit(events: events)
        device.write(0x2A, at: 0, width: 1)
        device.write(0, at: 0, width: 1)
        #expect(events.take() == [.debugExit(42), .debugExit(0)])
    }

    @Test("i8042: even commands from 0xF0 pulse the reset line")
    func keyboardReset() {
        let device = I8042(events: events)
        for command in UInt64(0)...255 {
            device.write(command, at: 4, width: 1)
            #expect(events.take() == (command >= 0xF0 && command % 2 == 0 ? [.reset] : []), "\(command)")
        }
        device.write(0xFE, at: 0, width: 1)
        #expect(events.take() == [], "data is no command")
    }

    @Test("i8042: the output buffer never runs empty (no controller), the input buffer always is (reset need not wait)")
    func keyboardStatus() {
        let device = I8042(events: events)
        for _ in 0..<100 {
            #expect(device.read(at: 4, width: 1) & 0x03 == 0x01)
            #expect(device.read(at: 0, width: 1) == 0xFF)
        }
    }

    @Test("Port B: a loop that waits for the refresh or timer bit ends, and no NMI source shows")
    func portB() {
        let device = I8042(events: events)
        device.write(0xFF, at: 1, width: 1)
        let first = device.read(at: 1, width: 1)
        let second = device.read(at: 1, width: 1)
        #expect(first ^ second == 0x30)
        #expect(first & 0xCF == 0x0F)
    }

    @Test("ACPI 6.5, 5.6.9: events stay pending until read; reading clears them; each press interrupts")
    func genericEvents() throws {
        let interrupt = try EventFD()
        let device = GenericEventDevice(interrupt: interrupt)
        #expect(!interrupt.drain())
        device.pressPowerButton()
        #expect(interrupt.drain())
        device.pressPowerButton()
        #expect(interrupt.drain(), "a press that the guest missed can be repeated")
        device.raise(.newGeneration)
        #expect(device.read(at: 0, width: 4) == 0x03)
        #expect(device.read(at: 0, width: 4) == 0)
        device.raise([.powerButton, .newGeneration])
        device.write(0x01, at: 0, width: 1)
        #expect(device.read(at: 1, width: 1) == 0, "the upper bytes clear nothing")
        #expect(device.read(at: 0, width: 1) == 0x02)
    }

    @Test("A pending event is saved, and interrupts again after a restore")
    func genericEventsSaved() throws {
        let interrupt = try EventFD()
        let device = GenericEventDevice(interrupt: interrupt)
        device.pressPowerButton()
        let saved = device.state
        #expect(saved == ["powerButton": true, "newGeneration": false])
        let other = try EventFD()
        let copy = GenericEventDevice(interrupt: other)
        copy.resume()
        #expect(!other.drain())
        try copy.restore(SavedValue(saved))
        copy.resume()
        #expect(other.drain())
        #expect(copy.read(at: 0, width: 1) == 1)
    }

    @Test("Saved registers come back, and other documents are refused in a sentence that names the field")
    func states() {
        let reset = ResetRegister(events: events)
        reset.write(0x0A, at: 0, width: 1)
        let copy = ResetRegister(events: events)
        #expect(refusal(copy, reset.state) == nil)
        #expect(copy.read(at: 0, width: 1) == 0x0A)
        #expect(refusal(copy, ["control": 0x0F]) == "device.control: expected an integer from 0 to 14, found 15.")
        #expect(refusal(copy, [:]) == "device.control: expected an integer from 0 to 14, found nothing.")
        #expect(refusal(copy, []) == "device: expected an object, found an array.")
        #expect(refusal(copy, ["control": 2, "x": 1]) == "device.x: expected no field of this name; known here: control.")
        #expect(copy.read(at: 0, width: 1) == 0x0A, "a refused state changes nothing")
        let sleep = SleepControl(events: events)
        #expect(refusal(sleep, ["sleepType": 8]) == "device.sleepType: expected an integer from 0 to 7, found 8.")
        #expect(refusal(sleep, ["sleepType": 3]) == nil)
        #expect(sleep.state == ["sleepType": 3])
        #expect(refusal(PVPanic(events: events), ["a": 1]) == "device.a: expected no field of this name; known here: none.")
        #expect(refusal(DebugExit(events: events), [:]) == nil)
        #expect(refusal(I8042(events: events), ["portB": 3, "refresh": "yes"]) == "device.refresh: expected true or false, found \"yes\".")
    }

    @Test("Random accesses of every width do no harm", arguments: [1, 2, 3] as [UInt64])
    func fuzz(seed: UInt64) throws {
        let devices: [any MachineDevice] = [
            SleepControl(events: events), ResetRegister(events: events), PVPanic(events: events), DebugExit(events: events),
            I8042(events: events), GenericEventDevice(interrupt: try EventFD()),
        ]
        for device in devices {
            #expect(poke(device, range: 16, seed: seed) == nil)
            _ = events.take()
        }
    }
}
