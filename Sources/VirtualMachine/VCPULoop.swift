import Host
import Hypervisor
import Machine
import Synchronization
import Transport

/// What a vCPU thread does: runs the guest and answers its exits until it is told to stop.
final class VCPULoop: Sendable {
    private let ports: AddressBus
    private let memory: AddressBus
    private let ioapic: IOAPIC
    private let end: EndSignal
    private let isStopping = Atomic(false)

    init(ports: AddressBus, memory: AddressBus, ioapic: IOAPIC, end: EndSignal) {
        self.ports = ports
        self.memory = memory
        self.ioapic = ioapic
        self.end = end
    }

    /// From now on every vCPU returns from `run` at its next interruption.
    func requestStop() { isStopping.store(true, ordering: .sequentiallyConsistent) }

    /// Runs one vCPU until the machine ends.
    func run(_ cpu: inout KVMVirtualCPU) {
        while true {
            do {
                if try step(&cpu) { return }
            } catch {
                return end.raise(.failed("vCPU \(cpu.id) cannot run: \(error)."))
            }
        }
    }

    /// Runs the guest until its next exit and answers that; true when the vCPU is to stop.
    private func step(_ cpu: inout KVMVirtualCPU) throws(SystemError) -> Bool {
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
            cpu.handle.clearExitRequest()
            return isStopping.load(ordering: .sequentiallyConsistent)
        case .halt, .debug, .hypercall:
            // Interrupt controllers are in the kernel, nothing is debugged, and no hypercall that KVM would pass on is offered.
            break
        case .shutdown:
            end.raise(.tripleFault)
            return true
        case .systemEvent(let type):
            // KVM_SYSTEM_EVENT_SHUTDOWN is 1, RESET 2, CRASH 3 (Linux KVM API, KVM_EXIT_SYSTEM_EVENT).
            end.raise(type == 1 ? .powerOff : type == 2 ? .reset : .panic)
            return true
        case .internalError(let error):
            let failure = try cpu.diagnose(error)
            end.raise(error.isEmulationFailure ? .hostCannot("\(failure)") : .failed("\(failure)"))
            return true
        case .failEntry(let reason):
            end.raise(.failed("The host's processor refused the guest's state (reason 0x\(String(reason, radix: 16)))."))
            return true
        case .memoryFault:
            end.raise(.failed("The host could not provide the guest's memory."))
            return true
        case .unknown(let reason):
            end.raise(.failed("KVM stopped the guest for the unknown reason \(reason)."))
            return true
        }
        return false
    }
}
