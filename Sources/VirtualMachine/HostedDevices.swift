import GuestMemory
import Host
import Hypervisor
import Logging
import Machine
import Schema
import Transport
import Virtio

/// The virtio devices of a machine, each behind its transport.
struct HostedDevices: Sendable {
    /// A device by its configured id.
    private struct Member: Sendable {
        let id: String
        let transport: TransportKind
        let hosted: any HostedDevice
    }

    /// The virtio-mmio slots in use, in order.
    let mmioSlots: [Int]
    /// What tells a kernel of its virtio-mmio devices when it does not look into ACPI.
    let commandLineWords: [String]
    private let members: [Member]

    init(
        _ plans: [DevicePlan], platform: Platform, memory: GuestMemory, doorbells: any DoorbellRegistry, router: any InterruptRouting
    ) throws(MachineStartError) {
        var slots: [Int] = []
        var words: [String] = []
        var members: [Member] = []
        for plan in plans {
            // In process there is no jail to wait for.
            plan.device.onDeviceSandboxed()
            let logger = Logger(label: "swvmm.\(plan.id)")
            let log: @Sendable (String) -> Void = { logger.warning("\($0)") }
            let hosted: any HostedDevice
            switch plan.transport {
            case .pci:
                do {
                    hosted = try VirtioPCIFunction(
                        device: plan.device, memory: memory, bus: platform.pci, slot: try platform.pci.freeSlot(),
                        doorbells: doorbells, routing: router, log: log)
                } catch {
                    throw MachineStartError(.device(plan.id), "\(error)")
                }
            case .mmio:
                let slot = slots.count
                guard let range = AddressMap.virtioMMIO(slot: slot) else {
                    throw MachineStartError(
                        .device(plan.id), "expected at most \(GSI.virtioMMIO.count) devices on MMIO: each takes an interrupt of its own.")
                }
                do {
                    let interrupt = try EventFD()
                    try router.attach(interrupt, to: GSI.virtioMMIO[slot])
                    let transport = try VirtioMMIODevice(
                        device: plan.device, memory: memory, base: range.lowerBound, doorbells: doorbells, interrupt: interrupt, log: log)
                    try platform.memory.insert(transport, at: range)
                    hosted = transport
                } catch {
                    throw MachineStartError(.device(plan.id), "\(error)")
                }
                slots.append(slot)
                words.append("virtio_mmio.device=4K@0x\(String(range.lowerBound, radix: 16)):\(GSI.virtioMMIO[slot])")
            }
            members.append(Member(id: plan.id, transport: plan.transport, hosted: hosted))
        }
        mmioSlots = slots
        commandLineWords = words
        self.members = members
    }

    /// Puts every device to sleep. When one cannot, those that sleep already are woken again.
    func sleep() throws(MachineError) {
        for (index, member) in members.enumerated() {
            do {
                try member.hosted.sleep()
            } catch {
                for earlier in members[..<index] { try? earlier.hosted.wake() }
                throw MachineError("Device \"\(member.id)\" cannot go to sleep: \(error)")
            }
        }
    }

    /// Wakes every device. When one cannot, those that are awake already are put to sleep again.
    func wake() throws(MachineError) {
        for (index, member) in members.enumerated() {
            do {
                try member.hosted.wake()
            } catch {
                for earlier in members[..<index] { try? earlier.hosted.sleep() }
                throw MachineError("Device \"\(member.id)\" cannot wake: \(error)")
            }
        }
    }

    /// The devices' states by id; asleep only.
    func snapshot() throws(MachineError) -> JSONValue {
        var states: [String: JSONValue] = [:]
        for member in members {
            do { states[member.id] = try member.hosted.snapshot() } catch {
                throw MachineError("The state of device \"\(member.id)\" cannot be saved: \(error)")
            }
        }
        return .object(states)
    }

    /// Takes over the devices' states; asleep and new only. There must be one for each device, and no other.
    func restore(_ states: SavedValue) throws {
        let own = try states.read { (fields) throws(StateError) in members.map { fields[$0.id] } }
        for (member, state) in zip(members, own) { try member.hosted.restore(state) }
    }

    /// What each device is and how it fares, for people. Waits for no device.
    var report: [JSONValue] {
        members.map { member in
            [
                "id": .string(member.id), "type": .string("\(member.hosted.device.deviceType)"),
                "transport": .string(member.transport.rawValue),
                "lifecycle": .string(member.hosted.settledLifecycle.map { "\($0)" } ?? "changing"),
                "counters": .object(member.hosted.counters.mapValues { .integer(Int64(clamping: $0)) }),
            ]
        }
    }

    /// Stops every device: drains what is in flight. All of them at a time, so that several that do not answer take no longer than one. A device
    /// that cannot stop has said so in its log; the process ends soon anyway.
    func stop() {
        guard let first = members.first else { return }
        var others: [WorkerThread<Bool>] = []
        for member in members.dropFirst() {
            do {
                others.append(try WorkerThread(name: "stop \(member.id)", state: true) { _, _ in try? member.hosted.device.reset() })
            } catch {
                try? member.hosted.device.reset()
            }
        }
        try? first.hosted.device.reset()
        for other in others { _ = other.stop() }
    }
}
