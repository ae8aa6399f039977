public import Host

/// Tries the instructions that a kernel needs in ring 0, one at a time, in a virtual machine of 64 KiB.
///
/// Most hosts run ring 0 natively, and all of them work. A host whose KVM emulates ring 0 (one that is itself a guest without nested
/// virtualisation) works for small payloads, and fails at the first instruction that its emulator lacks: so it is worth asking. Takes
/// milliseconds.
public enum InstructionProbe {
    /// What became of an instruction.
    public enum Outcome: Sendable, Hashable {
        /// It did what it should.
        case works
        /// It was not tried: CPUID does not announce it, and no kernel uses it then.
        case notAnnounced
        /// KVM ran into an internal error: its emulator does not know the instruction.
        case notEmulated
        /// It raised an exception that it should not raise.
        case exception(UInt8)
        /// It raised no exception, but should have.
        case noException
        /// The machine stopped in another way.
        case stopped(VCPUExit)
    }

    /// An instruction, and what became of it.
    public struct Result: Sendable, Hashable {
        /// The instruction.
        public let instruction: ProbedInstruction
        /// What became of it.
        public let outcome: Outcome
        /// Whether a kernel can go on.
        public var isOK: Bool { outcome == .works || outcome == .notAnnounced }
    }

    /// Tries all instructions.
    public static func run(_ system: KVMSystem) throws(SystemError) -> [Result] {
        try run(system, ProbedInstruction.all)
    }

    static func run(_ system: KVMSystem, _ instructions: [ProbedInstruction]) throws(SystemError) -> [Result] {
        // Without an interrupt controller everything is quicker, and nothing can wait inside the kernel.
        var machine = try BareMachine(system, ioapicPins: nil)
        var results: [Result] = []
        for instruction in instructions {
            if let feature = instruction.feature, !feature.isAnnounced(by: machine.cpuid) {
                results.append(Result(instruction: instruction, outcome: .notAnnounced))
                continue
            }
            try machine.load(instruction.bytes + [0xe6, donePort])
            results.append(Result(instruction: instruction, outcome: try outcome(of: instruction, on: &machine.cpu)))
            // What an exception or a failure has left on its way must not meet the next instruction.
            try machine.cpu.setEvents(KVMVCPUEvents())
        }
        return results
    }

    /// Where the code says that it came to its end.
    private static let donePort: UInt8 = 0x10

    private static func outcome(of instruction: ProbedInstruction, on cpu: inout KVMVirtualCPU) throws(SystemError) -> Outcome {
        while true {
            let exit = try cpu.run()
            switch exit {
            case .interrupted: continue
            case .internalError: return .notEmulated
            case .portOut(UInt16(donePort), _, _): return instruction.exception == nil ? .works : .noException
            case .portOut(let port, _, _) where BareMachine.exceptionPorts.contains(port):
                let vector = UInt8(truncatingIfNeeded: port - BareMachine.exceptionPorts.lowerBound)
                return vector == instruction.exception ? .works : .exception(vector)
            default: return .stopped(exit)
            }
        }
    }
}
