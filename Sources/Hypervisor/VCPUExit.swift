/// Why a virtual processor came back from running the guest. A value without storage of its own: an exit allocates nothing.
///
/// Addresses, ports and values are the guest's: any value may appear.
public enum VCPUExit: Sendable, Hashable {
    /// The guest reads a port: `completeRead` gives the answer (all ones without it). `width` is 1, 2 or 4.
    case portIn(port: UInt16, width: Int)
    /// The guest writes a port. `width` is 1, 2 or 4.
    case portOut(port: UInt16, width: Int, value: UInt64)
    /// The guest reads memory that is no RAM: `completeRead` gives the answer (all ones without it). `width` is 1 … 8, and not a power
    /// of two where an access crosses a page.
    case mmioRead(address: UInt64, width: Int)
    /// The guest writes memory that is no RAM. `width` as for reads.
    case mmioWrite(address: UInt64, width: Int, value: UInt64)
    /// HLT, in a machine without interrupt controllers in the kernel.
    case halt
    /// A triple fault.
    case shutdown
    /// The guest has ended a level-triggered interrupt: the IOAPIC looks at its pins with this vector again.
    case ioapicEOI(vector: UInt8)
    /// KVM_SYSTEM_EVENT_…: the guest asked the hypervisor for an end or a reset.
    case systemEvent(type: UInt32)
    /// The host's processor refused the guest's state; the reason is the processor's.
    case failEntry(reason: UInt64)
    /// KVM cannot go on.
    case internalError(KVMInternalError)
    /// A breakpoint or single step that was asked for.
    case debug
    /// A hypercall that KVM passes on.
    case hypercall(number: UInt64)
    /// An exit was requested, or a signal came. All reads and writes of the guest are complete: the processor's state can be saved.
    /// May come without a request: look, and run again.
    case interrupted
    /// The host could not provide the guest's memory.
    case memoryFault
    /// A reason (KVM_EXIT_…) that swvmm does not know.
    case unknown(reason: UInt32)
}

/// An internal error of KVM (KVM_EXIT_INTERNAL_ERROR), as far as KVM explains it.
public struct KVMInternalError: Sendable, Hashable {
    /// KVM_INTERNAL_ERROR_…: 1 is an instruction that KVM's emulator does not know.
    public let suberror: UInt32
    private let instructionSize: UInt8
    // Two words instead of an array, so that an exit needs no allocation.
    private let low: UInt64
    private let high: UInt64

    /// An error with up to 15 bytes of the instruction at fault and of what follows it.
    init(suberror: UInt32, low: UInt64, high: UInt64, instructionSize: UInt8) {
        self.suberror = suberror
        self.low = low
        self.high = high
        self.instructionSize = min(instructionSize, 15)
    }

    /// Whether KVM could not emulate an instruction.
    public var isEmulationFailure: Bool { suberror == 1 }

    /// The bytes from the instruction at fault on, up to 15; what follows it may be among them. Empty when KVM does not know.
    public var instructionBytes: [UInt8] {
        (0..<UInt64(instructionSize)).map { index -> UInt8 in
            let word = index < 8 ? low : high
            return UInt8(truncatingIfNeeded: word >> (8 * (index % 8)))
        }
    }
}

/// A stop of a virtual processor by an internal error, ready to be told to a person.
public struct VCPUFailure: Error, Sendable, Hashable, CustomStringConvertible {
    /// What KVM said.
    public let error: KVMInternalError
    /// Where the guest was.
    public let instructionPointer: UInt64

    /// The instruction's mnemonic, when it is one that is known to be missing in KVM's emulator.
    public var instructionName: String? { InstructionName.of(error.instructionBytes) }

    /// One sentence.
    public var description: String {
        let place = "at 0x\(String(instructionPointer, radix: 16))"
        switch error.suberror {
        case 1:
            let bytes = error.instructionBytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
            let name = instructionName.map { " \($0)" } ?? ""
            let shown = bytes.isEmpty ? "" : " (bytes \(bytes))"
            return "This host's KVM cannot emulate the guest's instruction\(name) \(place)\(shown)."
        case 2: return "KVM met two exceptions at once while it delivered one, \(place)."
        case 3: return "KVM could not deliver an event to the guest, \(place)."
        case 4: return "The host's processor left the guest for a reason that KVM does not know, \(place)."
        default: return "KVM reported the internal error \(error.suberror), \(place)."
        }
    }
}
