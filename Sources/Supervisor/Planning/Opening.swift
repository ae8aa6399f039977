import CLinux
import Host

/// Opens a file that the configuration names; the error names the JSON path, the file and the remedy.
func openConfigured(_ path: String, _ key: String, flags: Int32, mode: UInt32 = 0, expected: String) throws(VMError) -> OwnedDescriptor {
    do {
        return try OwnedDescriptor.open(path, flags: flags, mode: mode)
    } catch {
        throw VMError(.resource, "\(key): \(path): \(error.errno); expected \(expected).")
    }
}

/// Opens /dev/kvm, or says what keeps us from it and what to do.
func openKVM(_ path: String = "/dev/kvm") throws(VMError) -> OwnedDescriptor {
    do {
        return try OwnedDescriptor.open(path, flags: O_RDWR)
    } catch {
        let remedy =
            switch error.errno {
            case .noEntry: "load the module (modprobe kvm_intel or kvm_amd) and switch virtualization on in the firmware"
            case .accessDenied, .notPermitted: "add yourself to the group kvm (usermod -aG kvm $USER) and log in again"
            default: "'swvmm doctor' tells more"
            }
        throw VMError(.host, "\(path): \(error.errno); \(remedy).")
    }
}

/// Opens the node of a vDPA device, or says what keeps us from it and what to do.
func openVdpa(_ path: String, key: String) throws(VMError) -> OwnedDescriptor {
    do {
        // A process that used it may be about to end.
        return try withPatience(while: { $0.errno == .busy }) { () throws(SystemError) in try OwnedDescriptor.open(path, flags: O_RDWR) }
    } catch {
        let remedy =
            switch error.errno {
            case .noEntry: "load the module (modprobe vhost_vdpa) and make a device (vdpa dev add)"
            case .accessDenied, .notPermitted: "give yourself access to the node (chown or chmod, or a rule of udev)"
            case .busy: "another process uses the device"
            default: "expected a vDPA device, /dev/vhost-vdpa-N"
            }
        throw VMError(.resource, "\(key): \(path): \(error.errno); \(remedy).")
    }
}

/// Listens at a path; a socket that nobody listens on any more is taken over.
func listenTakingOver(_ path: String) throws(SystemError) -> OwnedDescriptor {
    var probe = ListenerProbe(path)
    return try withPatience(while: { $0.errno.rawValue == EADDRINUSE && UnixSocket.exists(at: path) }) { () throws(SystemError) in
        try listenOrTakeOver(path, &probe)
    }
}

private func listenOrTakeOver(_ path: String, _ probe: inout ListenerProbe) throws(SystemError) -> OwnedDescriptor {
    do throws(SystemError) {
        return try UnixSocket.listen(at: path)
    } catch {
        guard error.errno.rawValue == EADDRINUSE, probe.findsNobody() else { throw error }
        removeFile(path)
        return try UnixSocket.listen(at: path)
    }
}

/// Finds out whether somebody listens at a path, as often as one likes and without ever waiting.
///
/// Whoever listens may take no connections: each one that is made and dropped stays in the listener's queue, until connecting to it would wait
/// for ever. So there is one connection at most, which is kept: it is hung up as soon as the listener goes.
private struct ListenerProbe: ~Copyable {
    private let path: String
    private var connection: OwnedDescriptor?

    init(_ path: String) {
        self.path = path
        connection = nil
    }

    /// Whether there is a socket of somebody who has gone.
    mutating func findsNobody() -> Bool {
        if connection?.isHungUp == false { return false }
        do throws(SystemError) {
            connection = try UnixSocket.connectWithoutWaiting(to: path)
            return false
        } catch {
            connection = nil
            // So says the kernel of every file that is no socket, too. A full queue is that of a listener.
            return error.errno == .connectionRefused && UnixSocket.exists(at: path)
        }
    }
}

/// Connects to a listening socket. One that takes no connections has a few seconds to begin; EAGAIN when it has not.
func connectPatiently(_ path: String, milliseconds: Int64 = 3000) throws(SystemError) -> OwnedDescriptor {
    try withPatience(milliseconds, while: { $0.errno == .wouldBlock }) { () throws(SystemError) in
        try UnixSocket.connectWithoutWaiting(to: path)
    }
}

/// Tries again for a while what fails because somebody is about to end and has not ended yet: the processes of a VM that was killed, say.
func withPatience<Value: ~Copyable, Failure: Error>(
    _ milliseconds: Int64 = 1000, while isPassing: (Failure) -> Bool, _ body: () throws(Failure) -> Value
) throws(Failure) -> Value {
    let deadline = MonotonicTime.now + milliseconds
    while true {
        do throws(Failure) { return try body() } catch {
            guard isPassing(error), MonotonicTime.now < deadline else { throw error }
            pause(milliseconds: 10)
        }
    }
}
