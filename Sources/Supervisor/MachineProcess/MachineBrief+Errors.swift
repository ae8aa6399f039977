import Devices
import VirtualMachine

// What keeps a machine from being made, in terms of the files that it comes from.

extension MachineBrief {
    /// Names the file that a refused setting stands in.
    func named(_ error: VMError) -> VMError { error.inConfiguration(file) }

    /// Names the file or JSON path that a part of the plan came from.
    func explain(_ error: MachineStartError) -> VMError {
        switch error.part {
        case .kernel: VMError(.resource, "\(file): boot.kernel: \(configuration.kernel): \(error)")
        case .initrd: VMError(.resource, "\(file): boot.initrd: \(configuration.initrd ?? ""): \(error)")
        case .commandLine: VMError(.configuration, "\(file): boot.commandLine: \(error)")
        case .cpuMask: VMError(.configuration, "\(file): cpus.mask: \(error)")
        case .cpuCount: VMError(.configuration, "\(file): cpus.count: \(error)")
        case .memory: VMError(.configuration, "\(file): memory.size: \(error)")
        case .device(let id):
            VMError(
                .configuration,
                "\(file): devices[\(configuration.devices.firstIndex { $0.id == id } ?? 0)]: \(error)")
        case .state: stateError(error)
        case .host: VMError(.host, error.description)
        }
    }

    /// A saved state that cannot be taken over: because of what the host lacks, or because of what is in it.
    private func stateError(_ error: MachineStartError) -> VMError {
        guard case .snapshot(let snapshot) = origin else { return VMError(.failure, error.description) }
        return error.ofState(in: snapshot.path)
    }
}

extension MachineStartError {
    /// An error in the state of the snapshot in a directory.
    func ofState(in directory: String) -> VMError {
        let file = "\(directory)/\(SnapshotFiles.state): "
        return VMError(.resource, description.hasPrefix(file) ? description : file + description)
    }
}

extension VMError {
    /// The error with the name of the configuration in which the JSON path stands that it begins with.
    func inConfiguration(_ file: String) -> VMError {
        VMError(code, code == .host || message.hasPrefix("/") ? message : "\(file): \(message)")
    }
}
