import Host
import Hypervisor
import Machine
import Transport

/// What a vCPU's thread does between two orders: it enters the guest and answers its exit.
struct VCPULoop: Sendable {
    let ports: AddressBus
    let memory: AddressBus
    let ioapic: IOAPIC
    let end: EndSignal

    /// Enters the guest once and answers its exit.
    func step(_ cpu: inout KVMVirtualCPU) -> VCPUStep {
        do {
            return try enter(&cpu)
        } catch {
            end.raise(.failed("vCPU \(cpu.id) cannot run: \(error)."))
            return .end
        }
    }

    private func enter(_ cpu: inout KVMVirtualCPU) throws(SystemError) -> VCPUStep {
        switch try cpu.run() {
        case .portOut(let port, let width, let value):
            ports.write(value, at: UInt64(port), width: width)
        case .portIn(let port, let width):
            cpu.completeRead(ports.read(at: UInt64(port), width: width) ?? .max)
        case .mmioWrite(let address, let width, let value):
            memory.write(value, at: address, width: width)
        case .mmioRead(let address, let width):
            cpu.completeRead(memory.read(at: address, width: width) ?? .max)
        case .ioapicEOI(let vector):
            ioapic.endOfInterrupt(vector: vector)
        case .interrupted:
            return .interrupted
        case .halt, .debug, .hypercall:
            // Interrupt controllers are in the kernel, nothing is debugged, and no hypercall that KVM would pass on is offered.
            break
        case .shutdown:
            end.raise(.tripleFault)
            return .end
        case .systemEvent(let type):
            // KVM_SYSTEM_EVENT_SHUTDOWN is 1, RESET 2, CRASH 3 (Linux KVM API, KVM_EXIT_SYSTEM_EVENT).
            end.raise(type == 1 ? .powerOff : type == 2 ? .reset : .panic)
            return .end
        case .internalError(let error):
            let failure = try cpu.diagnose(error)
            end.raise(error.isEmulationFailure ? .hostCannot("\(failure)") : .failed("\(failure)"))
            return .end
        case .failEntry(let reason):
            end.raise(.failed("The host's processor refused the guest's state (reason 0x\(String(reason, radix: 16)))."))
            return .end
        case .memoryFault:
            end.raise(.failed("The host could not provide the guest's memory."))
            return .end
        case .unknown(let reason):
            end.raise(.failed("KVM stopped the guest for the unknown reason \(reason)."))
            return .end
        }
        return .goOn
    }
}
