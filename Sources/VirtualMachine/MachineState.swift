import Host
import Hypervisor
import Machine
public import Schema
import Snapshot
import Transport
import Virtio

/// `state.json`, as far as it can be read without a machine. The states of platform and devices are read by those that they belong to.
public struct MachineState: Sendable {
    let clock: MachineClock
    let cpus: [CPUState]
    let generation: VMGeneration
    /// The states of the platform's devices, by their names in `Platform`.
    let platform: SavedValue
    /// The states of the virtio devices, by their ids.
    let devices: SavedValue

    /// Reads a document. Everything that is wrong in it is named by its path.
    public init(_ document: SavedValue) throws(StateError) {
        (clock, cpus, generation, platform, devices) = try document.read { (fields) throws(StateError) in
            let cpus = try fields.array("cpus", count: 1...255) { (value) throws(StateError) in try CPUState(reading: value) }
            for (index, cpu) in cpus.enumerated() where Int(cpu.id) != index {
                throw fields.error("cpus", expected: "CPUs in the order of their ids, found id \(cpu.id) at index \(index)")
            }
            let clock = try MachineClock(fields["clock"], cpuCount: cpus.count)
            let generation = try fields.bytes("generation", count: VMGeneration.byteCount...VMGeneration.byteCount)
            guard let id = VMGeneration(bytes: generation) else { throw fields.error("generation", expected: "16 bytes") }
            return (clock, cpus, id, fields["platform"], fields["devices"])
        }
    }

    /// The document of these parts.
    static func document(
        clock: MachineClock, cpus: [JSONValue], generation: VMGeneration, platform: JSONValue, devices: JSONValue
    ) -> JSONValue {
        [
            "clock": clock.json, "cpus": .array(cpus), "generation": .bytes(generation.bytes), "platform": platform,
            "devices": devices,
        ]
    }

    /// What is wrong when a machine of that many virtual CPUs is to take this state over; nil when nothing is.
    public func contradiction(cpuCount: Int) -> String? {
        cpuCount == cpus.count ? nil : "cpus: expected \(cpuCount), as the configuration says, found \(cpus.count)."
    }

    /// The maker of the processor that the guest has seen.
    public var cpuVendor: String { CPUIDPolicy.vendor(of: cpus.first?.cpuid ?? []) }

    /// What the guest was told of its first processor, as text.
    public var cpuDescription: String { CPUState.describe(cpus.first?.cpuid ?? []) }

    /// The width of guest-physical addresses that the guest has seen, in bits.
    var physicalAddressBits: Int { CPUIDPolicy.physicalAddressBits(of: cpus.first?.cpuid ?? []) }

    /// Why this host cannot go on with the guest; nil when it can.
    func refusal(by policy: CPUIDPolicy) -> String? {
        for (index, cpu) in cpus.enumerated() {
            let vendor = CPUIDPolicy.vendor(of: cpu.cpuid)
            guard vendor == policy.vendor else {
                return "cpus[\(index)].cpuid: the guest has seen a processor by \(vendor), this host's is by \(policy.vendor)."
            }
            let missing = policy.missingFeatures(of: cpu.cpuid)
            guard missing.isEmpty else {
                return "cpus[\(index)].cpuid: the guest has seen CPU features that this host lacks: \(missing.joined(separator: ", "))."
            }
        }
        return nil
    }
}

extension MachineClock {
    /// Frequencies of time stamp counters, in kHz.
    private static let frequencies: ClosedRange<UInt32> = 1...100_000_000

    init(_ saved: SavedValue, cpuCount: Int) throws(StateError) {
        self = try saved.read { (fields) throws(StateError) in
            MachineClock(
                kvmclock: try fields.hex("kvmclock"), realTime: try fields.hex("realTime"),
                tscKHz: try fields.integer("tscKHz", in: Self.frequencies),
                cpus: try fields.array("cpus", count: cpuCount...cpuCount) { (value) throws(StateError) in
                    try value.read { (fields) throws(StateError) in
                        CPU(
                            tsc: try fields.hex("tsc"), deadline: try fields.hex("deadline"),
                            countdown: try fields.optional("countdown") { (value) throws(StateError) in
                                try value.read { (fields) throws(StateError) in
                                    Countdown(
                                        initial: try fields.integer("initial", in: 1...UInt32.max),
                                        current: try fields.integer("current", in: 1...UInt32.max))
                                }
                            })
                    }
                })
        }
    }

    var json: JSONValue {
        [
            "kvmclock": .hex(kvmclock), "realTime": .hex(realTime), "tscKHz": .integer(Int64(tscKHz)),
            "cpus": .array(
                cpus.map { cpu in
                    let countdown = cpu.countdown.map { timer -> JSONValue in
                        ["initial": .integer(Int64(timer.initial)), "current": .integer(Int64(timer.current))]
                    }
                    return ["tsc": .hex(cpu.tsc), "deadline": .hex(cpu.deadline), "countdown": countdown ?? .null]
                }),
        ]
    }
}

extension VirtualMachine {
    /// The whole state of a machine that sleeps, but for its RAM.
    func state(_ life: borrowing Life) throws(MachineError) -> JSONValue {
        guard let clock = life.clock, let generation = VMGeneration(in: memory) else {
            throw MachineError("The machine's clocks have not been read.")
        }
        var cpus: [JSONValue] = []
        do throws(SystemError) {
            try threads.forEach { (cpu) throws(SystemError) in
                let cpuid = cpus.count < life.cpuid.count ? life.cpuid[cpus.count] : []
                cpus.append(try CPUState(of: cpu, cpuid: cpuid, msrIndices: msrIndices).document)
            }
        } catch {
            throw MachineError("The state of virtual CPU \(cpus.count) cannot be read (\(error)).")
        }
        return MachineState.document(
            clock: clock, cpus: cpus, generation: generation, platform: platform.state, devices: try devices.snapshot())
    }
}

extension Platform {
    /// The states of all devices by name, and of the PCI bus.
    var state: JSONValue {
        var states = devices.mapValues { $0.state }
        states["pci"] = ["configurationAddress": .hex(UInt64(configurationPorts.selectedAddress)), "hostBridge": pci.hostBridgeState]
        return .object(states)
    }

    /// Takes the states over; sends no interrupt.
    func restore(_ saved: SavedValue) throws {
        let names = devices.keys.sorted()
        let (own, bus) = try saved.read { (fields) throws(StateError) in
            let bus = try fields.object("pci") { (fields) throws(StateError) in
                (address: try fields.hex("configurationAddress", upTo: UInt64(UInt32.max)), hostBridge: fields["hostBridge"])
            }
            return (names.map { fields[$0] }, bus)
        }
        for (name, state) in zip(names, own) { try devices[name]?.restore(state) }
        try pci.restoreHostBridge(bus.hostBridge)
        configurationPorts.selectedAddress = UInt32(truncatingIfNeeded: bus.address)
    }
}
