import GuestMemory
import Host
import Testing

@testable import Hypervisor

@Suite("Instructions")
struct InstructionTests {
    @Test("names what KVM's emulator lacks, through prefixes")
    func names() {
        #expect(InstructionName.of([0xf0, 0x48, 0x0f, 0xc7, 0x0f]) == "cmpxchg16b")
        #expect(InstructionName.of([0x0f, 0xc7, 0x0f]) == "cmpxchg8b")
        #expect(InstructionName.of([0x48, 0x0f, 0xae, 0x2e]) == "xrstor64")
        #expect(InstructionName.of([0x0f, 0xae, 0xe8]) == "lfence")
        #expect(InstructionName.of([0xcc]) == "int3")
        #expect(InstructionName.of([0x90]) == nil)
        #expect(InstructionName.of([]) == nil)
        #expect(InstructionName.of([0xf0, 0x48]) == nil)
        #expect(InstructionName.of([0x0f]) == nil)
        #expect(InstructionName.of([0x0f, 0xc7]) == nil)
    }

    @Test("a failure tells instruction, bytes and place in one sentence")
    func description() {
        let error = KVMInternalError(suberror: 1, low: 0x000f_c70f_48f0, high: 0, instructionSize: 5)
        #expect(error.instructionBytes == [0xf0, 0x48, 0x0f, 0xc7, 0x0f])
        #expect(
            VCPUFailure(error: error, instructionPointer: 0xffff_ffff_8100_0000).description
                == "This host's KVM cannot emulate the guest's instruction cmpxchg16b at 0xffffffff81000000 (bytes f0 48 0f c7 0f).")
        let silent = KVMInternalError(suberror: 1, low: 0, high: 0, instructionSize: 0)
        #expect(
            VCPUFailure(error: silent, instructionPointer: 0x10).description
                == "This host's KVM cannot emulate the guest's instruction at 0x10.")
        #expect(KVMInternalError(suberror: 1, low: 0, high: 0xff << 48, instructionSize: 200).instructionBytes.count == 15)
    }

    @Test("every instruction is tried, and integer ones work everywhere", .enabled(if: TestHost.hasKVM, TestHost.needsKVM))
    func probe() throws {
        let results = try InstructionProbe.run(try TestHost.kvm())
        #expect(results.count == ProbedInstruction.all.count)
        for name in ["cpuid", "rdtsc", "rep movsq", "rep stosq", "lock xadd", "rdmsr", "mov cr3"] {
            #expect(results.first { $0.instruction.name == name }?.outcome == .works, "\(name)")
        }
    }

    @Test(
        "an instruction that raises the wrong exception, or none, is not taken for a working one",
        .enabled(if: TestHost.hasKVM, TestHost.needsKVM))
    func wrongException() throws {
        let wrong = [
            ProbedInstruction("ud2", [0x0f, 0x0b]), ProbedInstruction("ud2", [0x0f, 0x0b], raises: 6),
            ProbedInstruction("nop", [0x90], raises: 3), ProbedInstruction("nop", [0x90]),
        ]
        let results = try InstructionProbe.run(try TestHost.kvm(), wrong)
        #expect(results.map(\.outcome) == [.exception(6), .works, .noException, .works])
        #expect(results.map(\.isOK) == [false, true, false, true])
    }
}
