import CLinux
import Host
import Hypervisor

/// Finds out what this host can do. Changes nothing, and takes milliseconds.
public enum Doctor {
    /// Looks at everything.
    public static func examine() -> Findings { Findings(all: kvmFindings() + hostFindings()) }

    /// Whether /dev/kvm can be used, what it lacks, and whether it runs a kernel's instructions.
    private static func kvmFindings() -> [Finding] {
        let system: KVMSystem
        do {
            system = try open()
        } catch {
            return [
                Finding(
                    name: "kvm", isPresent: false, detail: error.message,
                    remedy: "use a host with KVM, and give yourself access to /dev/kvm", need: .required)
            ]
        }
        let missing = system.missingCapabilities().map(\.name)
        let capabilities = Finding(
            name: "kvm", isPresent: missing.isEmpty,
            detail: missing.isEmpty
                ? "/dev/kvm opens and has every capability that is needed" : "KVM lacks \(missing.joined(separator: ", "))",
            remedy: "use a kernel of version 5.10 or later", need: .required)
        return [capabilities, instructions(system)]
    }

    private static func open() throws(VMError) -> KVMSystem {
        let descriptor = try openKVM()
        do { return try KVMSystem(descriptor: descriptor) } catch { throw VMError(.host, "/dev/kvm cannot be used (\(error)).") }
    }

    /// Tries a kernel's instructions in ring 0: KVM hosts that emulate ring 0 lack some, and no Linux boots on them.
    private static func instructions(_ system: KVMSystem) -> Finding {
        let name = "ring-0"
        let remedy = "run Linux guests on bare metal, or where nested virtualization is on; the lab (Tests/Lab/lab) is such a place"
        do {
            let failed = try InstructionProbe.run(system).filter { !$0.isOK }.map(\.instruction.name)
            let shown = failed.prefix(6).joined(separator: ", ") + (failed.count > 6 ? " and \(failed.count - 6) more" : "")
            return Finding(
                name: name, isPresent: failed.isEmpty,
                detail: failed.isEmpty ? "KVM runs every instruction that a kernel needs" : "KVM cannot run \(shown)", remedy: remedy,
                need: .linux)
        } catch {
            return Finding(name: name, isPresent: false, detail: "a small guest could not be run (\(error))", remedy: remedy, need: .linux)
        }
    }
}
