import CLinux
import Host
import Synchronization

/// A running passt: user-mode networking for one network device, on a socket that both share.
///
/// It ends when the socket does, and is ended when the VM ends.
final class PasstProcess: Sendable {
    private let child: Slot<ChildProcess>

    private init(_ child: consuming ChildProcess) { self.child = Slot(child) }

    /// A started passt and our end of its socket.
    struct Started: ~Copyable {
        let process: PasstProcess
        fileprivate let socket: OwnedDescriptor

        /// Our end of the socket.
        consuming func takeSocket() -> OwnedDescriptor { socket }
    }

    /// What passt is told: one client on an inherited socket, in the foreground, without a word in normal use.
    static func arguments(descriptor: Int32) -> [String] { ["passt", "--foreground", "--quiet", "--fd", "\(descriptor)"] }

    /// The number of its socket in passt.
    private static let descriptor: Int32 = 3

    /// Starts passt; `key` is the JSON path that asks for it.
    static func start(key: String) throws(VMError) -> Started {
        guard let program = findProgram("passt") else {
            throw VMError(.resource, "\(key): passt is not installed; install the package passt, or use another back-end.")
        }
        do {
            let pair = try SocketPair()
            let output = try OwnedDescriptor.open("/dev/null", flags: O_RDWR)
            let child = try ChildProcess(
                path: program, arguments: arguments(descriptor: descriptor),
                descriptors: [
                    InheritedDescriptor(output.rawValue, as: 0), InheritedDescriptor(output.rawValue, as: 1),
                    InheritedDescriptor(output.rawValue, as: 2), InheritedDescriptor(pair.second.rawValue, as: descriptor),
                ])
            return Started(process: PasstProcess(child), socket: pair.first)
        } catch {
            throw VMError(.resource, "\(key): \(program): cannot be started (\(error)).")
        }
    }

    /// Ends it; harmless when it has ended.
    func stop() {
        guard let child = child.take() else { return }
        _ = child.terminate(graceMilliseconds: 1000)
    }
}
