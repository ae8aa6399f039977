import Foundation
import GuestMemory
import Host
import Machine
import Schema
import Snapshot
import TestSupport
import Testing
import Transport
import Virtio
import Virtqueue

@testable import Hypervisor
@testable import Supervisor
@testable import VirtualMachine

/// Writes the golden files. For a new version of the format, into a new directory; those of an old one stay as they are.
@Suite("Golden files") struct GoldenGenerator {
    /// The directory to write to is in this variable; it must not exist.
    private static let target = ProcessInfo.processInfo.environment["SWVMM_WRITE_GOLDEN_FILES"]

    @Test("Golden files are written where the environment asks for it", .enabled(if: target != nil))
    func write() throws {
        let root = try #require(Self.target)
        try #require(!pathExists(root))
        for folder in ["", "/devices"] { try FileManager.default.createDirectory(atPath: root + folder, withIntermediateDirectories: true) }
        func put(_ document: JSONValue, _ name: String) throws {
            try JSONText.encode(document).write(toFile: "\(root)/\(name)", atomically: false, encoding: .utf8)
        }
        for golden in GoldenCase.all { try put(try Self.device(golden), golden.file) }
        let cpus = try Self.cpus()
        let clock = Self.clock
        let machine = try GoldenMachine.whole(memory: try GuestMemory(ranges: [0..<Golden.snapshotMemory]))
        Self.program(machine.rehearsal.platform)
        // Before any device drives a line: a line belongs to its device, and is not restored with the IOAPIC.
        try put(machine.rehearsal.platform.state, "platform.json")
        try Self.run(machine)
        try put(try #require(cpus.first), "cpu.json")
        try put(clock.json, "clock.json")
        let generation = try #require(VMGeneration(bytes: Array(1...16)))
        let state = MachineState.document(
            clock: clock, cpus: cpus.map { Self.shortened($0) }, generation: generation, platform: machine.rehearsal.platform.state,
            devices: try machine.rehearsal.devices.snapshot())
        let manifest = try Self.save(state, machine.memory, at: "\(root)/snapshot")
        var changes = manifest
        changes.id = String(manifest.id.reversed())
        changes.base = Manifest.Base(sha256: SHA256.text(of: Array(JSONText.encode(manifest.json).utf8)), path: "snapshot")
        changes.memory.sha256 = SHA256.text(of: [])
        try put(changes.json, "manifest-of-changes.json")
    }

    private static func device(_ golden: GoldenCase) throws -> JSONValue {
        let device = try golden.device.make()
        let machine = try GoldenMachine([DevicePlan(id: GoldenCase.id, transport: golden.transport, device: device)])
        var features = device.features
        if golden.format == .split { features.remove(.ringPacked) }
        let driver = GuestDriver(
            machine: machine, transport: golden.transport, slot: golden.transport == .pci ? 1 : 0, features: features,
            queueCount: device.queueMaxSizes.count, place: 0x10_0000)
        // Packed rings with INTx, for variety.
        try driver.reach(golden.phase, golden.device, usesMSIX: golden.format == .split)
        if golden.device == .console, golden.phase != .new { try device.controlNotify(["columns": 80, "rows": 25]) }
        try machine.rehearsal.devices.sleep()
        guard case .object(let states) = try machine.rehearsal.devices.snapshot() else { return .null }
        return try #require(states[GoldenCase.id])
    }

    /// Brings the platform to a state in which little is as at the beginning.
    private static func program(_ platform: Platform) {
        let ports = platform.ports
        for (pin, low) in [(UInt64(4), UInt64(0x0000_0034)), (9, 0x39), (16, 0x0000_a140)] {
            for (register, value) in [(0x11 + 2 * pin, UInt64(1) << 24), (0x10 + 2 * pin, low)] {
                platform.memory.write(register, at: AddressMap.ioapic.lowerBound, width: 4)
                platform.memory.write(value, at: AddressMap.ioapic.lowerBound + 0x10, width: 4)
            }
        }
        let com = AddressMap.com1.lowerBound
        // FIFOs, 8 bits, DTR, RTS and OUT2, all interrupts, a scratch value; one byte each way.
        for (register, value): (UInt64, UInt64) in [(2, 0xc7), (3, 0x03), (4, 0x0b), (1, 0x0f), (7, 0x5a), (0, 0x41)] {
            ports.write(value, at: com + register, width: 1)
        }
        _ = platform.serial.receive(Array("hi".utf8).span)
        // Register B: stop the clock; and a byte of memory.
        for (index, value): (UInt64, UInt64) in [(0x0b, 0x82), (0x40, 0x99)] {
            ports.write(index, at: AddressMap.rtc.lowerBound, width: 1)
            ports.write(value, at: AddressMap.rtc.lowerBound + 1, width: 1)
        }
        ports.write(0x01, at: 0x61, width: 1)
        ports.write(0x14, at: AddressMap.sleepControl.lowerBound, width: 1)
        ports.write(0x02, at: AddressMap.resetRegister, width: 1)
        ports.write(0x8000_0810, at: 0xcf8, width: 4)
        platform.memory.write(0x10, at: AddressMap.ecam.lowerBound + 0x0c, width: 1)
        platform.events.pressPowerButton()
    }

    /// Has drivers start all devices.
    private static func run(_ machine: GoldenMachine) throws {
        let kinds: [(GoldenCase.Device, TransportKind, Int)] = [(.block, .pci, 1), (.net, .mmio, 0), (.console, .pci, 2), (.rng, .mmio, 1)]
        for (index, kind) in kinds.enumerated() {
            let device = try kind.0.make()
            var features = device.features
            if index == 1 { features.remove(.ringPacked) }
            try GuestDriver(
                machine: machine, transport: kind.1, slot: kind.2, features: features, queueCount: device.queueMaxSizes.count,
                place: 0x10_0000 + UInt64(index) << 19
            ).reach(.active, kind.0, usesMSIX: index == 2)
        }
        try machine.rehearsal.devices.sleep()
    }

    private static let clock = MachineClock(
        kvmclock: 0x12_3456_789a, realTime: 0x18ff_1122_3344_5566, tscKHz: 2_400_000,
        cpus: [
            MachineClock.CPU(tsc: 0x55_6677_8899, deadline: 0x55_6677_ffff),
            MachineClock.CPU(
                tsc: 0x55_6677_8899, deadline: 0, countdown: MachineClock.Countdown(initial: 0x1_0000, current: 0x1234)),
        ])

    /// One CPU that has run a little, and one that waits to be started.
    private static func cpus() throws -> [JSONValue] {
        let system = try KVMSystem(descriptor: try OwnedDescriptor.open("/dev/kvm", flags: O_RDWR))
        var bare = try BareMachine(system, ioapicPins: GSI.pinCount)
        // mov eax, 0x11223344; cvtsi2sd xmm0, rax; out 0x80, al
        try bare.load([0xb8, 0x44, 0x33, 0x22, 0x11, 0xf2, 0x48, 0x0f, 0x2a, 0xc0, 0xe6, 0x80])
        _ = try bare.cpu.run()
        let second = try bare.machine.makeVirtualCPU(id: 1)
        try second.setCPUID(bare.cpuid)
        let indices = try system.msrIndices()
        return [
            try CPUState(of: bare.cpu, cpuid: bare.cpuid, msrIndices: indices).document,
            try CPUState(of: second, cpuid: bare.cpuid, msrIndices: indices).document,
        ]
    }

    /// A CPU with fewer leaves and registers: enough for a whole document that can be read.
    private static func shortened(_ cpu: JSONValue) -> JSONValue {
        guard case .object(var members) = cpu else { return cpu }
        for name in ["cpuid", "msrs"] {
            if case .array(let elements)? = members[name] { members[name] = .array(Array(elements.prefix(4))) }
        }
        return .object(members)
    }

    private static func save(_ state: JSONValue, _ memory: GuestMemory, at path: String) throws -> Manifest {
        let configuration: JSONValue = [
            "name": "golden", "cpus": ["count": 2], "memory": ["size": "16M"], "boot": ["kernel": "/golden/kernel"],
            "serial": ["backend": "null"],
            "devices": [
                [
                    "id": "disk", "type": "block", "transport": "pci", "path": "/golden/disk", "serial": "GOLDEN", "queues": 2,
                    "packedRing": true,
                ],
                [
                    "id": "net0", "type": "net", "transport": "mmio", "backend": ["tap": "golden0"], "mac": "52:54:00:12:34:56",
                    "mtu": 1500, "queuePairs": 2, "packedRing": true,
                ],
                ["id": "con0", "type": "console", "transport": "pci", "backend": "null", "packedRing": true],
                ["id": "rng0", "type": "rng", "transport": "mmio", "packedRing": true],
            ],
        ]
        let resolved = try ConfigFile(document: configuration, path: "config.json").resolved
        let typed = try MachineState(SavedValue(state))
        let writer = try SnapshotWriter.begin(at: path)
        let image = try MemoryWriter(memory).writeFull(to: writer.memory, pageTables: try OwnedDescriptor.pageTables())
        try writer.state.writeAll(Array(JSONText.encode(state).utf8))
        var manifest: Manifest?
        _ = try writer.finish(configuration: resolved) { configuration, state in
            let made = Manifest(
                id: "00112233445566778899aabbccddeeff", createdAt: "2025-01-31T12:00:00.000Z", producer: "swvmm 0.1.0", name: "golden",
                cpuVendor: typed.cpuVendor, cpuFingerprint: SHA256.text(of: Array(typed.cpuDescription.utf8)),
                memorySize: Golden.snapshotMemory, extents: image.extents, base: nil, configuration: configuration, state: state,
                memory: Manifest.File(size: Golden.snapshotMemory, sha256: nil))
            manifest = made
            return made
        }
        removeFile("\(path)/memory")
        return try #require(manifest)
    }
}
