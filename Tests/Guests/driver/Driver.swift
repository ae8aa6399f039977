import Virtqueue

/// Drives every virtio device that it finds with `VirtQueue`, says what came of it line by line, and ends the virtual machine: with 0 when
/// no check failed, else with 1.
///
/// Devices are those that the command line names (`virtio_mmio.device=4K@ADDRESS:GSI`) and the virtio functions of PCI bus 0. `packed=1`,
/// `indirect=1` and `event=1` ask for ring features, which the devices then must offer. `turns=N` adds N requests of one byte to the
/// entropy source. With `quiet=1` no interrupt may come that was not asked for: a device in another process sends one per queue when it starts.
/// The other half of each check is in Tests/BootSuite/DriverCases.swift.
@_cdecl("guest_main")
func main(information: UInt, form: Int32) {
    let boot = BootInformation(form: form == 0 ? .bootParams : .hvmStartInfo, address: information)
    var ring: UInt64 = 0
    if boot.number(after: "indirect=") == 1 { ring |= 1 << 28 }
    if boot.number(after: "event=") == 1 { ring |= 1 << 29 }
    if boot.number(after: "packed=") == 1 { ring |= 1 << 34 }
    let turns = Int(truncatingIfNeeded: boot.number(after: "turns=") ?? 0)
    unsafe Checks.isQuiet = boot.number(after: "quiet=") == 1

    var found = 0
    boot.forEachMMIODevice { address in
        guard let transport = MMIOTransport(base: address) else { return }
        found += 1
        drive(transport, ring, turns)
    }
    for slot in 0..<PCIFunction.slots {
        guard let transport = PCITransport(PCIFunction(slot: slot)) else { continue }
        found += 1
        drive(transport, ring, turns)
    }
    Checks.note("devices found", found > 0)
    Checks.note("all buffers and pages given back", GuestPages.isClean)
    Checks.close()
}

/// Drives one device and lets go of it.
private func drive<T: DriverTransport>(_ transport: T, _ ring: UInt64, _ turns: Int) {
    // So that a guest that hangs tells where.
    Guest.print("device of type ")
    Guest.print(UInt64(transport.deviceType))
    Guest.print("\n")
    do throws(DriverFailure) {
        switch transport.deviceType {
        case 1: try driveNetwork(transport, ring)
        case 2: try driveBlock(transport, ring)
        case 3: try driveConsole(transport, ring)
        case 4: try driveEntropy(transport, ring, turns)
        default: Checks.note("known device", false)
        }
    } catch {
        Checks.note(error)
    }
}

private func driveBlock<T: DriverTransport>(_ transport: T, _ ring: UInt64) throws(DriverFailure) {
    var disk = try BlockGuestDriver(transport, ring: ring)
    Checks.note("block: capacity", disk.capacity == 64)
    Checks.note("block: id", try disk.identity { id in Pattern.begins(id, with: "driver-disk") })
    Checks.note("block: read", try disk.read(3) { Pattern.matches($0, 3, seed: 0) })
    Checks.note("block: read ahead", try disk.readAhead(8, 4) { sector, bytes in Pattern.matches(bytes, sector, seed: 0) })
    if disk.isReadOnly {
        do throws(DriverFailure) {
            try disk.write(16) { Pattern.fill(&$0, 16, seed: 1) }
            Checks.note("block: a write is refused", false)
        } catch {
            Checks.note("block: a write is refused", error.status == 1)
        }
        Checks.note("block: read-only and unchanged", try disk.read(16) { Pattern.matches($0, 16, seed: 0) })
    } else {
        for sector: UInt64 in 16..<20 { try disk.write(sector) { Pattern.fill(&$0, sector, seed: 1) } }
        try disk.flush()
        Checks.note("block: write, flush and read", try disk.readAhead(16, 4) { sector, bytes in Pattern.matches(bytes, sector, seed: 1) })
        do throws(DriverFailure) {
            Checks.note("block: beyond the end", try disk.read(64) { _ in false })
        } catch {
            Checks.note("block: beyond the end", error.status == 1)
        }
    }
    // No used buffer notification was wanted until now; from here on one is.
    Checks.noteInterrupts("block: no interrupt", transport.acknowledgeInterrupt())
    disk.requests.setDeviceNotify(true)
    Checks.note("block: read with interrupts", try disk.read(4) { Pattern.matches($0, 4, seed: 0) })
    Checks.note("block: an interrupt", transport.awaitInterrupt())
    disk.requests.setDeviceNotify(false)
}

private func driveEntropy<T: DriverTransport>(_ transport: T, _ ring: UInt64, _ turns: Int) throws(DriverFailure) {
    var source = try EntropyGuestDriver(transport, ring: ring)
    var bytes = InlineArray<64, UInt8>(repeating: 0)
    var span = bytes.mutableSpan
    var untyped = span.untyped
    let count = try source.fill(&untyped)
    var differs = 0
    for index in 1..<bytes.count where bytes[index] != bytes[index - 1] { differs += 1 }
    Checks.note("entropy: 64 bytes", count == 64 && differs > 32)
    if turns > 0 { Checks.note("entropy: many requests", try source.turn(turns)) }
    Checks.noteInterrupts("entropy: no interrupt", transport.acknowledgeInterrupt())
}

private func driveConsole<T: DriverTransport>(_ transport: T, _ ring: UInt64) throws(DriverFailure) {
    var console = try ConsoleGuestDriver(transport, ring: ring)
    let hello: StaticString = "hello from a driver\n"
    let text = unsafe UnsafeRawBufferPointer(start: hello.utf8Start, count: hello.utf8CodeUnitCount)
    try console.write(unsafe text.bytes)
    Checks.note("console: hello", true)
    Checks.note("console: echo", try console.echo())
    Checks.noteInterrupts("console: no interrupt", transport.acknowledgeInterrupt())
}

/// A frame to everybody, which the host answers with one to us: its bytes behind the header plus one.
private func driveNetwork<T: DriverTransport>(_ transport: T, _ ring: UInt64) throws(DriverFailure) {
    var network = try NetworkGuestDriver(transport, ring: ring)
    let mac = network.mac
    for round: UInt64 in 0..<3 {
        let count = 60 + Int(round) * 500
        try network.send(count) { frame in
            Pattern.fill(&frame, round, seed: 2)
            for index in 0..<6 {
                frame.storeBytes(of: 0xff, toByteOffset: index, as: UInt8.self)
                frame.storeBytes(of: mac[index], toByteOffset: 6 + index, as: UInt8.self)
            }
            frame.storeBytes(of: 0x88, toByteOffset: 12, as: UInt8.self)
            frame.storeBytes(of: 0xb5, toByteOffset: 13, as: UInt8.self)
        }
        let isAnswered = try network.receive { frame in
            guard frame.byteCount == count else { return false }
            for index in 14..<count where Pattern.byte(of: frame, index) != Pattern.expected(round, index, seed: 2) &+ 1 { return false }
            for index in 0..<6 where Pattern.byte(of: frame, index) != mac[index] { return false }
            return true
        }
        Checks.note("network: a frame and its answer", isAnswered)
        if round == 1 { break }
    }
    Checks.noteInterrupts("network: no interrupt", transport.acknowledgeInterrupt())
}

extension DriverTransport {
    /// Whether an interrupt for used buffers comes.
    fileprivate func awaitInterrupt() -> Bool {
        var round: UInt64 = 0
        while acknowledgeInterrupt() & 1 == 0 {
            guard Patience.isLeft(round) else { return false }
            round += 1
        }
        return true
    }
}

/// Counts checks and prints a line for each.
enum Checks {
    nonisolated(unsafe) private static var passed: UInt64 = 0
    nonisolated(unsafe) private static var failed: UInt64 = 0

    static func note(_ name: StaticString, _ isRight: Bool) {
        if isRight { unsafe passed += 1 } else { unsafe failed += 1 }
        Guest.print(isRight ? "ok " : "FAILED ")
        Guest.print(name)
        Guest.print("\n")
    }

    /// Whether devices send no interrupts but those that were asked for.
    nonisolated(unsafe) static var isQuiet = false

    /// What a device says why it interrupted, although nothing was to be announced.
    static func noteInterrupts(_ name: StaticString, _ causes: UInt8) {
        if unsafe isQuiet { note(name, causes & 1 == 0) }
    }

    static func note(_ failure: DriverFailure) {
        switch failure {
        case .negotiation: note("negotiation", false)
        case .queue(.timedOut): note("an answer in time", false)
        case .queue(.device): note("a device that keeps to the rules", false)
        case .queue: note("a queue", false)
        case .status: note("a request without an error", false)
        case .nothing: note("an answer", false)
        }
    }

    static func close() -> Never {
        unsafe Guest.print(passed)
        Guest.print(" passed, ")
        unsafe Guest.print(failed)
        Guest.print(" failed\n")
        Guest.exit(unsafe failed == 0 ? 0 : 1)
    }
}

extension DriverFailure {
    /// What the device answered instead of success.
    fileprivate var status: UInt8? { if case .status(let value) = self { value } else { nil } }
}

/// What stands on the disks and in frames: bytes that follow from a number, the same on the host's side.
enum Pattern {
    static func expected(_ number: UInt64, _ index: Int, seed: UInt8) -> UInt8 {
        UInt8(truncatingIfNeeded: index) &* 7 &+ UInt8(truncatingIfNeeded: number) &* 31 &+ seed &* 101
    }

    static func byte(of bytes: RawSpan, _ index: Int) -> UInt8 { unsafe bytes.unsafeLoad(fromByteOffset: index, as: UInt8.self) }

    static func matches(_ bytes: RawSpan, _ number: UInt64, seed: UInt8) -> Bool {
        for index in 0..<bytes.byteCount where byte(of: bytes, index) != expected(number, index, seed: seed) { return false }
        return true
    }

    static func fill(_ bytes: inout MutableRawSpan, _ number: UInt64, seed: UInt8) {
        for index in 0..<bytes.byteCount {
            bytes.storeBytes(of: expected(number, index, seed: seed), toByteOffset: index, as: UInt8.self)
        }
    }

    static func begins(_ bytes: RawSpan, with text: StaticString) -> Bool {
        guard bytes.byteCount >= text.utf8CodeUnitCount else { return false }
        for index in 0..<text.utf8CodeUnitCount where unsafe byte(of: bytes, index) != text.utf8Start[index] { return false }
        return true
    }
}

extension BootInformation {
    /// Calls `body` with the address of each device that the command line names.
    fileprivate func forEachMMIODevice(_ body: (UInt) -> Void) {
        let key: StaticString = "virtio_mmio.device=4K@0x"
        let text = unsafe commandLine
        var matched = 0
        var index = 0
        while index < text.count {
            let byte = unsafe text[index]
            index += 1
            matched = unsafe byte == key.utf8Start[matched] ? matched + 1 : 0
            guard matched == key.utf8CodeUnitCount else { continue }
            matched = 0
            var address: UInt = 0
            while index < text.count, let digit = unsafe Self.hexadecimal(text[index]) {
                address = address << 4 | digit
                index += 1
            }
            body(address)
        }
    }

    private static func hexadecimal(_ byte: UInt8) -> UInt? {
        switch byte {
        case 0x30...0x39: UInt(byte) - 0x30
        case 0x61...0x66: UInt(byte) - 0x61 + 10
        default: nil
        }
    }
}
