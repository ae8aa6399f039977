/// How a machine came to its end.
public enum MachineEnd: Sendable, Equatable {
    /// The guest powered off.
    case powerOff
    /// The guest asked for a reset.
    case reset
    /// The guest's kernel panicked.
    case panic
    /// The guest was stopped by a triple fault.
    case tripleFault
    /// The guest ended the machine through the debug-exit port.
    case debugExit(UInt8)
    /// The host cannot go on running the guest; one sentence says why.
    case hostCannot(String)
    /// The machine failed; one sentence says how.
    case failed(String)
    /// `VirtualMachine.stop` was called.
    case stopped
}

/// A machine that could not be made: what part of the plan is at fault, and one sentence.
public struct MachineStartError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The part of the plan that is at fault; the supervisor knows which file or JSON path it came from.
    public enum Part: Sendable, Equatable {
        /// The kernel's file.
        case kernel
        /// The initrd's file.
        case initrd
        /// The command line.
        case commandLine
        /// The list of CPU features to hide.
        case cpuMask
        /// The amount of RAM.
        case memory
        /// The number of virtual CPUs.
        case cpuCount
        /// A device, by its id.
        case device(String)
        /// The saved state; the description begins with the JSON path.
        case state
        /// KVM.
        case host
    }
    /// The part.
    public let part: Part
    /// One sentence, without the file's name or the JSON path.
    public let description: String

    /// An error.
    public init(_ part: Part, _ description: String) {
        self.part = part
        self.description = description
    }
}
