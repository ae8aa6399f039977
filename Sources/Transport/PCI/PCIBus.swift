public import Hypervisor
public import Schema
import Synchronization

/// A PCI function, as its bus sees it.
public protocol PCIFunction: AnyObject, Sendable {
    /// A read of 1, 2 or 4 bytes of configuration space (PCI 3.0, 6.1) that lie in one aligned group of four.
    func readConfiguration(at offset: Int, width: Int) -> UInt32
    /// A write, likewise.
    func writeConfiguration(_ value: UInt32, at offset: Int, width: Int)
}

/// A PCI set-up that cannot be.
public enum PCIError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Something stands in the slot, or there is no such slot.
    case slotUnavailable(Int)
    /// No slot is free.
    case busFull
    /// The window has no room for a BAR of that many bytes.
    case windowFull(UInt64)
    /// The device has more queues than the registers can show.
    case tooManyQueues(Int)

    /// One sentence.
    public var description: String {
        switch self {
        case .slotUnavailable(let slot): "PCI slot \(slot) does not exist or is taken."
        case .busFull: "All \(PCIBus.slotCount) PCI slots are taken."
        case .windowFull(let size): "The PCI memory window has no room for another \(size) bytes."
        case .tooManyQueues(let count): "A PCI device can have at most \(VirtioPCILayout.maxQueues) queues, not \(count)."
        }
    }
}

/// PCI bus 0: a host bridge in slot 0 and single-function devices in slots 1 to 31.
public final class PCIBus: Sendable {
    /// Slots on the bus.
    public static let slotCount = 32
    /// The GSI that INTA of slot 0 reaches; slots take this and the three that follow in turn.
    public static let firstInterruptGSI: UInt32 = 16
    /// How many GSIs INTx uses.
    public static let interruptGSICount = 4

    /// What a slot's interrupt pin (0 for INTA … 3 for INTD) is wired to; ACPI's _PRT says the same.
    public static func interruptGSI(slot: Int, pin: Int = 0) -> UInt32 {
        firstInterruptGSI + UInt32(truncatingIfNeeded: (slot &+ pin) & (interruptGSICount - 1))
    }

    private struct State {
        var slots: [(any PCIFunction)?]
        var window: PCIWindow
        var highWindow: PCIWindow
    }

    /// The guest's memory-mapped I/O, in which BARs stand. Weak: it holds the functions of this bus through their BARs.
    weak let memory: AddressBus?
    private let lines: [SharedInterruptLine]
    private let hostBridge = PCIHostBridge()
    private let state: Mutex<State>

    /// A bus with a host bridge. BARs are placed in `window` (below 4 GiB) or, when they have 64 bits, in `highWindow`. `lines` are the
    /// inputs of the interrupt controller for GSIs 16 to 19.
    public init(
        memory: AddressBus, window: Range<UInt64>, highWindow: Range<UInt64> = 0..<0,
        lines: (any InterruptLine, any InterruptLine, any InterruptLine, any InterruptLine)
    ) {
        self.memory = memory
        self.lines = [lines.0, lines.1, lines.2, lines.3].map { SharedInterruptLine($0) }
        var slots: [(any PCIFunction)?] = Array(repeating: nil, count: Self.slotCount)
        slots[0] = hostBridge
        state = Mutex(State(slots: slots, window: PCIWindow(window), highWindow: PCIWindow(highWindow)))
    }

    /// The lowest free slot.
    public func freeSlot() throws(PCIError) -> Int {
        guard let slot = state.withLock({ $0.slots.firstIndex { $0 == nil } }) else { throw .busFull }
        return slot
    }

    /// Puts a function into a slot.
    public func insert(_ function: any PCIFunction, slot: Int) throws(PCIError) {
        let inserted = state.withLock { state in
            guard state.slots.indices.contains(slot), state.slots[slot] == nil else { return false }
            state.slots[slot] = function
            return true
        }
        if !inserted { throw .slotUnavailable(slot) }
    }

    /// A hold on the line that INTA of a slot is wired to; it is the caller's alone, and low when it goes.
    public func interruptLine(slot: Int) -> any InterruptLine {
        lines[Int(Self.interruptGSI(slot: slot) - Self.firstInterruptGSI)].tap()
    }

    /// The registers of the host bridge that a guest can write.
    public var hostBridgeState: JSONValue { hostBridge.state }

    /// Takes them over.
    public func restoreHostBridge(_ saved: SavedValue) throws(StateError) { try hostBridge.restore(saved) }

    /// A first address for a BAR of `size` bytes.
    func allocate(_ size: UInt64, is64Bit: Bool) throws(PCIError) -> UInt64 {
        let address = state.withLock { is64Bit ? $0.highWindow.allocate(size) : $0.window.allocate(size) }
        guard let address else { throw .windowFull(size) }
        return address
    }

    /// A guest's read of configuration space, all ones where no function stands.
    func read(_ address: PCIAddress, at offset: Int, width: Int) -> UInt32 {
        guard PCIConfigurationSpace.allows(offset, width) else {
            // Extended configuration space of a conventional function has no capability; elsewhere there is nothing.
            return offset >= PCIConfigurationSpace.size && function(address) != nil ? 0 : .max
        }
        return function(address)?.readConfiguration(at: offset, width: width) ?? .max
    }

    /// A guest's write to configuration space.
    func write(_ value: UInt32, _ address: PCIAddress, at offset: Int, width: Int) {
        guard PCIConfigurationSpace.allows(offset, width) else { return }
        function(address)?.writeConfiguration(value, at: offset, width: width)
    }

    private func function(_ address: PCIAddress) -> (any PCIFunction)? {
        guard address.bus == 0, address.function == 0 else { return nil }
        return state.withLock { $0.slots.indices.contains(address.slot) ? $0.slots[address.slot] : nil }
    }
}

/// Which function an access to configuration space is for.
struct PCIAddress {
    let bus: Int
    let slot: Int
    let function: Int
}
