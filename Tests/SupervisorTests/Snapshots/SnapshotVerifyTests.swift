import Foundation
import GuestMemory
import Host
import Schema
import Snapshot
import TestSupport
import Testing

@testable import Supervisor

@Suite("snapshot verify") struct SnapshotVerifyTests {
    let rig: SnapshotRig

    init() throws { rig = try SnapshotRig() }

    @Test("The golden snapshot is whole, and so is a chain with digests")
    func whole() throws {
        let golden = try rig.golden("golden")
        #expect(
            try SnapshotTools.verify(golden)
                == "\(golden): manifest, configuration and state are whole; 1 of 1 files of RAM were not checked, because no digest was written of them ('swvmm snapshot --digest' does)."
        )
        let a = try rig.write("a", pages: [1: 1], digest: true)
        let b = try rig.write("b", pages: [2: 1], base: try SavedSnapshot(path: a), digest: true)
        #expect(try SnapshotTools.verify(b) == "\(b): manifest, configuration and state are whole; RAM is what its digest says.")
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: "\(a)/memory"))
        try file.seek(toOffset: 4096)
        try file.write(contentsOf: Data([2]))
        let error = #expect(throws: VMError.self) { _ = try SnapshotTools.verify(b) }
        #expect(error?.message.hasPrefix("\(a)/memory: expected SHA-256 ") == true)
    }

    /// Places all over the state, and what is said when something else stands there.
    static let faults: [(path: [JSONPath.Step], value: JSONValue?, sentence: String)] = [
        ([.key("clock"), .key("tscKHz")], 0, "clock.tscKHz: expected an integer from 1 to 100000000, found 0."),
        (
            [.key("cpus"), .index(1), .key("regs"), .key("rip")], 7,
            "cpus[1].regs.rip: expected a hexadecimal number of 64 bits, found 7."
        ),
        (
            [.key("platform"), .key("serial"), .key("scratch")], 256,
            "platform.serial.scratch: expected an integer from 0 to 255, found 256."
        ),
        (
            [.key("platform"), .key("ioapic"), .key("pins"), .index(4), .key("vector")], nil,
            "platform.ioapic.pins[4].vector: expected an integer from 0 to 255, found nothing."
        ),
        (
            [.key("devices"), .key("net0"), .key("queues"), .index(0), .key("size")], 0,
            "devices.net0.queues[0].size: expected an integer from 1 to 256, found 0."
        ),
        (
            [.key("devices"), .key("net0"), .key("device"), .key("mac")], "here",
            "devices.net0.device.mac: expected a MAC address, found \"here\"."
        ),
        (
            [.key("devices"), .key("disk"), .key("device"), .key("serial")], "OTHER",
            "devices.disk.device.serial: expected this disk's serial \"GOLDEN\", found \"OTHER\"."
        ),
        (
            [.key("devices"), .key("disk"), .key("device"), .key("capacity")], "0x7",
            "devices.disk.device.capacity: expected the size of this disk, 512 bytes, found 7."
        ),
        (
            [.key("devices"), .key("con0"), .key("transport"), .key("kind")], "mmio",
            "devices.con0.transport.kind: expected \"pci\", found \"mmio\"."
        ),
        (
            [.key("devices"), .key("rng0"), .key("device"), .key("seed")], 1,
            "devices.rng0.device.seed: expected no field of this name; known here: none."
        ),
        (
            [.key("devices"), .key("sound")], [:],
            "devices.sound: expected no field of this name; known here: con0, disk, net0, rng0."
        ),
    ]

    @Test("A field of any part that is wrong is named with its file and path, although its digest is right", arguments: faults.indices)
    func fields(_ index: Int) throws {
        let fault = Self.faults[index]
        let path = try rig.write("a", state: { $0.replacing(JSONPath(fault.path), with: fault.value) })
        #expect(throws: VMError(.resource, "\(path)/state.json: \(fault.sentence)")) { _ = try SnapshotTools.verify(path) }
        // What lies below is looked at, too.
        let upper = try rig.write("b", base: try SavedSnapshot(path: path))
        #expect(throws: VMError(.resource, "\(path)/state.json: \(fault.sentence)")) { _ = try SnapshotTools.verify(upper) }
    }

    @Test("A queue that does not lie in RAM is found")
    func queues() throws {
        let place = JSONPath([.key("devices"), .key("net0"), .key("queues"), .index(0), .key("descriptorArea")])
        let path = try rig.write("a", state: { $0.replacing(place, with: "0x80000000") })
        let error = #expect(throws: VMError.self) { _ = try SnapshotTools.verify(path) }
        #expect(error?.message.hasPrefix("\(path)/state.json: devices.net0.queues[0]: expected a queue that can be set up") == true)
    }

    @Test("A manifest that speaks of another processor is found, and a configuration of another machine")
    func contradictions() throws {
        let vendor = try rig.write("vendor", change: { $0.cpuVendor = "NoSuchVendor" })
        let real = try Manifest(SavedValue(Golden.document("snapshot/manifest.json")))
        #expect(
            throws: VMError(
                .resource,
                "\(vendor)/manifest.json: cpu.vendor: expected \"\(real.cpuVendor)\", as the state has it, found \"NoSuchVendor\".")
        ) { _ = try SnapshotTools.verify(vendor) }
        let zeros = String(repeating: "0", count: 64)
        let print = try rig.write("print", change: { $0.cpuFingerprint = zeros })
        #expect(
            throws: VMError(
                .resource,
                "\(print)/manifest.json: cpu.fingerprint: expected \"\(real.cpuFingerprint)\", as the state has it, found \"\(zeros)\".")
        ) { _ = try SnapshotTools.verify(print) }
        let size = try rig.write("size", memorySize: 18 << 20, change: { $0.configuration.size += 0 })
        #expect(try SnapshotTools.verify(size).hasPrefix("\(size): manifest, configuration and state are whole"))
        let cpus = try rig.write("cpus", state: { $0.replacing(JSONPath([.key("cpus"), .index(1)]), with: nil) })
        #expect(throws: VMError(.resource, "\(cpus)/state.json: clock.cpus: expected an array of 1 elements, found 2.")) {
            _ = try SnapshotTools.verify(cpus)
        }
    }
}
