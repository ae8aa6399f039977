import CLinux
import Glibc
public import Host

/// A mount namespace with nothing in it but an empty directory that nobody can write to, and a network namespace without a connection to
/// anything: made once by who starts jailed processes as root, and entered by each of these on its own when it closes its jail.
///
/// To make either takes the kernel longer than all else that a process's start needs, and the caller need not wait for it: a thread makes
/// them, while processes start that will enter. What is shared cannot be changed from inside: the directory is read-only, no capability is
/// left, and no policy allows a socket in the network.
public final class JailRoom: Sendable {
    /// The namespaces.
    private let mounts: OwnedDescriptor
    private let network: OwnedDescriptor
    /// Signalled when the room is empty.
    private let ready: EventFD
    private let maker: WorkerThread<Bool>

    /// How long making it may take, in milliseconds.
    private static let patience: Int64 = 10_000

    /// Begins to make a room. Only root can.
    public init() throws(SystemError) {
        let (made, ready, opened) = (Slot<Made>(), try EventFD(), try EventFD())
        // A thread of its own: it never gets out again.
        maker = try WorkerThread(name: "room", state: true) { _, _ in
            var (mounts, network): (Int32, Int32) = (-1, -1)
            let result = unsafe swv_make_room(&mounts, &network)
            if result == 0 {
                made.put(Made(mounts: OwnedDescriptor(owning: mounts), network: OwnedDescriptor(owning: network)))
            }
            opened.signal()
            if result == 0, swv_empty_root() == 0 { ready.signal() }
        }
        guard opened.wait(timeoutMilliseconds: Self.patience), let made = made.take() else { throw SystemError("unshare", .notPermitted) }
        mounts = made.mounts
        network = made.network
        self.ready = ready
    }

    private struct Made: ~Copyable, Sendable {
        let mounts: OwnedDescriptor
        let network: OwnedDescriptor
    }

    /// What a process inherits that is to enter, from number `first` on.
    public func inherited(from first: Int32) -> [InheritedDescriptor] {
        [
            InheritedDescriptor(mounts.rawValue, as: first), InheritedDescriptor(network.rawValue, as: first + 1),
            InheritedDescriptor(ready.rawValue, as: first + 2),
        ]
    }

    /// The way into a room, as a process has inherited it.
    public struct Door: Sendable {
        private let first: Int32

        /// What is inherited begins with number `first`; nil when nothing is.
        public init?(inheritedFrom first: Int32) {
            guard fcntl(first, F_GETFD) >= 0 else { return nil }
            self.first = first
        }

        /// Enters for ever, as soon as the room is empty.
        func enter() throws(JailError) {
            do throws(SystemError) {
                let ready = EventFD(owning: try OwnedDescriptor.adopting(inherited: first + 2))
                guard ready.waitWithoutDraining(milliseconds: JailRoom.patience) else { throw SystemError("unshare", .notPermitted) }
                let mounts = try OwnedDescriptor.adopting(inherited: first)
                let network = try OwnedDescriptor.adopting(inherited: first + 1)
                _ = try retryingOnInterrupt("setns") { swv_enter_room(mounts.rawValue, network.rawValue) }
            } catch {
                throw JailError("The jail cannot be closed: the host could not take the root directory away (\(error)).")
            }
        }
    }
}
