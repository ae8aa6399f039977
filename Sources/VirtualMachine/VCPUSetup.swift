import GuestMemory
import Host
import Hypervisor
import Machine

/// Makes virtual CPUs as firmware would leave them.
struct VCPUSetup {
    private let policy: CPUIDPolicy
    private let boot: BootState

    init(policy: CPUIDPolicy, entry: Kernel.EntryPoint, memory: GuestMemory) {
        self.policy = policy
        boot = BootState(entry)
        boot.write(into: memory)
    }

    /// The virtual CPU with this index; the first one is ready to enter the kernel.
    func make(_ index: Int, of machine: KVMVirtualMachine) throws(MachineStartError) -> KVMVirtualCPU {
        try hosted("make virtual CPU \(index)") { () throws(SystemError) in
            let id = UInt32(truncatingIfNeeded: index)
            let cpu = try machine.makeVirtualCPU(id: id)
            try cpu.setCPUID(policy.entries(apicID: id))
            // A host that lacks one of these registers has a processor that does not need it.
            _ = try cpu.setMSRs(BootState.msrs)
            if index == 0 {
                try cpu.setSregs(boot.sregs(after: try cpu.sregs()))
                try cpu.setRegs(boot.regs)
            }
            return cpu
        }
    }
}
