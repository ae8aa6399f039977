public import Schema
import Synchronization
public import Virtio

extension VirtioPCIFunction {
    /// Where the device is in its life.
    public var lifecycle: Lifecycle { transport.lifecycle }

    /// The same without waiting; nil while it changes.
    public var settledLifecycle: Lifecycle? { transport.settledLifecycle }

    /// Stops the device and takes its queues.
    public func sleep() throws { try transport.sleep() }

    /// Gives the queues back, each with one kick and one interrupt.
    public func wake() throws {
        // After a restore, BARs take their places only now: by then no other function stands where it stood before its own restore.
        state.withLock { apply(&$0) }
        try transport.wake()
    }

    /// Registers, queues and the device's own state; asleep only.
    public func snapshot() throws -> JSONValue {
        let own = state.withLock { state -> [String: JSONValue] in
            var bars: [String: JSONValue] = [:]
            for bar in state.space.bars { bars["\(bar.index)"] = .hex(state.space.address(of: bar)) }
            return [
                "configuration": .object(savedRegisters.mapValues { .integer(clamping: state.space.get(at: $0.offset, width: $0.width)) }),
                "bars": .object(bars), "msix": .object(interrupts.msix.snapshot()), "isr": .integer(clamping: interrupts.isr),
            ]
        }
        return try transport.snapshot(kind: .pci, .object(own))
    }

    /// Takes over a snapshot; asleep and new only, else `LifecycleError`; `StateError` names what in it is wrong.
    public func restore(_ document: SavedValue) throws {
        let saved = try transport.restore(document, kind: .pci)
        try state.withLock { state in
            unmapBARs(&state)
            let parts = try saved.read { (fields) throws(StateError) in
                (
                    configuration: fields["configuration"], bars: fields["bars"], msix: fields["msix"],
                    isr: try fields.integer("isr", in: UInt8(0)...3)
                )
            }
            try parts.configuration.read { (fields) throws(StateError) in
                for (name, register) in savedRegisters {
                    let limit = UInt32.max >> UInt32(32 - 8 * register.width)
                    // Through the guest's masks: a snapshot cannot change what a guest cannot change.
                    state.space.write(try fields.integer(name, in: 0...limit), at: register.offset, width: register.width)
                }
            }
            try parts.bars.read { (fields) throws(StateError) in
                for bar in state.space.bars {
                    let address = try fields.hex("\(bar.index)", upTo: bar.is64Bit ? .max : UInt64(UInt32.max))
                    guard address & (bar.size - 1) == 0 else {
                        throw fields.error(
                            "\(bar.index)",
                            expected: "a multiple of 0x\(String(bar.size, radix: 16)), found 0x\(String(address, radix: 16))")
                    }
                    state.space.setAddress(address, of: bar)
                }
            }
            // Enable and mask take effect at `wake`, with the BARs.
            try interrupts.msix.restore(parts.msix)
            let control = state.space.get(at: capabilities.msixControl, width: 2)
            interrupts.restore(
                isr: parts.isr, interruptDisabled: state.space.command & PCIConfigurationSpace.Command.interruptDisable != 0,
                usesMSIX: control & VirtioPCICapabilities.msixEnable != 0)
        }
    }

    /// The registers of configuration space that a guest can write, apart from BARs, by the names of their specifications.
    private var savedRegisters: [String: (offset: Int, width: Int)] {
        let access = capabilities.access
        return [
            "command": (PCIConfigurationSpace.Register.command, 2),
            "cacheLineSize": (PCIConfigurationSpace.Register.cacheLineSize, 1),
            "interruptLine": (PCIConfigurationSpace.Register.interruptLine, 1),
            "msixMessageControl": (capabilities.msixControl, 2),
            "accessBAR": (access + VirtioPCICapabilities.accessBAR, 1),
            "accessOffset": (access + VirtioPCICapabilities.accessOffset, 4),
            "accessLength": (access + VirtioPCICapabilities.accessLength, 4),
            "accessData": (access + VirtioPCICapabilities.accessData, 4),
        ]
    }
}
