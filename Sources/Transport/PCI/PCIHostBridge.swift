import Schema
import Synchronization

/// The function in slot 0 that stands for the machine itself. It has no registers of its own.
final class PCIHostBridge: PCIFunction {
    /// Red Hat's generic host bridge, for which no guest has quirks.
    private let space = Mutex(
        PCIConfigurationSpace(
            PCIConfigurationSpace.Identity(vendor: 0x1b36, device: 0x0008, revision: 0, classCode: 0x06_0000)))

    func readConfiguration(at offset: Int, width: Int) -> UInt32 { space.withLock { $0.read(at: offset, width: width) } }

    func writeConfiguration(_ value: UInt32, at offset: Int, width: Int) {
        space.withLock { $0.write(value, at: offset, width: width) }
    }

    /// What a guest can write, by the names of the PCI specification.
    private static let registers = [
        "command": (offset: PCIConfigurationSpace.Register.command, width: 2),
        "cacheLineSize": (offset: PCIConfigurationSpace.Register.cacheLineSize, width: 1),
        "interruptLine": (offset: PCIConfigurationSpace.Register.interruptLine, width: 1),
    ]

    var state: JSONValue {
        space.withLock { space in
            .object(Self.registers.mapValues { .integer(Int64(space.get(at: $0.offset, width: $0.width))) })
        }
    }

    func restore(_ saved: SavedValue) throws(StateError) {
        let values = try saved.read { (fields) throws(StateError) in
            var values: [(offset: Int, width: Int, value: UInt32)] = []
            for (name, register) in Self.registers {
                let limit = UInt32.max >> UInt32(32 - 8 * register.width)
                values.append((register.offset, register.width, try fields.integer(name, in: 0...limit)))
            }
            return values
        }
        // Through the guest's masks: a snapshot cannot change what a guest cannot change.
        space.withLock { space in
            for value in values { space.write(value.value, at: value.offset, width: value.width) }
        }
    }
}
