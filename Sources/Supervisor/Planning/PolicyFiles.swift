import Devices
import Host
import Jail

/// Policies that a VM has instead of those that are built in: files of the same names in a directory.
struct PolicyFiles: Sendable {
    /// The directory; nil: all are built in.
    let directory: String?

    /// The largest file that is read, in bytes.
    private static let largest = 1 << 20

    /// The text of the policy for a kind of process, with what all kinds have in common; nil when it is the built-in one. Files are read and
    /// checked here, where a mistake can be told before anything runs.
    func text(for kind: String) throws(VMError) -> String? {
        guard let directory else { return nil }
        var text = ""
        var isBuiltIn = true
        for name in ["common", kind] {
            let path = "\(directory)/\(name).policy"
            guard pathExists(path) else {
                text += (Policy.builtInText(name) ?? "") + "\n"
                continue
            }
            isBuiltIn = false
            let bytes: [UInt8]
            do { bytes = try readWholeFile(path, limit: Self.largest) } catch {
                throw VMError(.resource, "policies: \(path): \(error.errno); expected a list of system calls.")
            }
            let own = String(decoding: bytes, as: UTF8.self)
            do { _ = try Policy(own, name: path) } catch { throw VMError(.resource, "policies: \(error)") }
            text += own + "\n"
        }
        return isBuiltIn ? nil : text
    }

    /// The same as a file for a process to inherit; nil when its policy is the built-in one.
    func file(for kind: String) throws(VMError) -> Slot<OwnedDescriptor>? {
        guard let text = try text(for: kind) else { return nil }
        return Slot(
            try VMError.host("make a file") { () throws(SystemError) in
                let file = try makeMemoryFile(name: "policy", size: 0)
                try file.writeAll(Array(text.utf8))
                try file.rewind()
                return file
            })
    }
}

extension DeviceSettings.Kind {
    /// The policy of processes that serve such a device, by its name in `Configs/seccomp`.
    var policyName: String {
        switch self {
        case .block: "block"
        case .network: "net"
        case .entropy: "rng"
        case .console: "console"
        case .fileSystem: "common"
        }
    }
}
