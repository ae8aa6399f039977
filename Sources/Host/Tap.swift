import CLinux
import Glibc

/// Offloads that the reader of a tap can take (TUNSETOFFLOAD): which unfinished packets the kernel may hand out.
public struct TapOffloads: OptionSet, Sendable, Hashable {
    /// The TUN_F_… bits.
    public let rawValue: UInt32
    /// Wraps TUN_F_… bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Packets whose checksum is still to be computed; all others need this one.
    public static let checksum = TapOffloads(rawValue: UInt32(TUN_F_CSUM))
    /// TCP over IPv4 that is still to be segmented.
    public static let tcp4 = TapOffloads(rawValue: UInt32(TUN_F_TSO4))
    /// TCP over IPv6 that is still to be segmented.
    public static let tcp6 = TapOffloads(rawValue: UInt32(TUN_F_TSO6))
    /// TCP segments with ECN bits.
    public static let ecn = TapOffloads(rawValue: UInt32(TUN_F_TSO_ECN))
    /// UDP that is still to be fragmented.
    public static let udp = TapOffloads(rawValue: UInt32(TUN_F_UFO))
}

/// One queue of a tap interface: frames, each behind a virtio network header, in `read` and `write` calls.
///
/// The interface exists for as long as one of its queues does, unless somebody made it persistent. A reference type, because the thread
/// that moves frames and the one that configures share it; every operation is one system call on the descriptor.
public final class TapQueue: Sendable {
    /// Size in bytes of the header in front of each frame: struct virtio_net_hdr of VIRTIO_F_VERSION_1.
    public static let headerSize = 12

    /// How a descriptor becomes a queue.
    public enum Mode: Sendable {
        /// Makes the interface; EBUSY when it exists. Needs CAP_NET_ADMIN.
        case create
        /// Joins an interface that may exist already. Needs its owner's rights, or CAP_NET_ADMIN to make it.
        case join
    }

    /// The open descriptor, non-blocking.
    public let descriptor: OwnedDescriptor
    /// The interface's name.
    public let name: String

    /// Turns a freshly opened `/dev/net/tun` into a queue of the interface `name` (1…15 bytes; a `%d` is replaced by a free number).
    ///
    /// `multiQueue` must be the same for all queues of an interface.
    public init(_ tun: consuming OwnedDescriptor, name: String, mode: Mode, multiQueue: Bool) throws(SystemError) {
        guard !name.isEmpty, name.utf8.count < Int(SWV_TAP_NAME_SIZE) else { throw SystemError("TUNSETIFF", .invalidArgument) }
        let flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multiQueue ? IFF_MULTI_QUEUE : 0) | (mode == .create ? IFF_TUN_EXCL : 0)
        let raw = tun.rawValue
        self.name = try unsafe withName(name) { buffer throws(SystemError) in
            _ = try retryingOnInterrupt("TUNSETIFF") { unsafe swv_tun_set_interface(raw, buffer, flags) }
        }
        _ = try retryingOnInterrupt("TUNSETVNETHDRSZ") { swv_tun_set_header_size(raw, Int32(Self.headerSize)) }
        try tun.setNonBlocking()
        descriptor = tun
    }

    /// Takes over a descriptor that already is a queue of a tap interface, made with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR; EINVAL otherwise.
    public init(adopting tap: consuming OwnedDescriptor) throws(SystemError) {
        let raw = tap.rawValue
        var flags: Int32 = 0
        name = try unsafe withName("") { buffer throws(SystemError) in
            _ = try retryingOnInterrupt("TUNGETIFF") { unsafe swv_tun_get_interface(raw, buffer, &flags) }
        }
        guard flags & IFF_TAP != 0, flags & IFF_NO_PI != 0, flags & IFF_VNET_HDR != 0 else {
            throw SystemError("TUNGETIFF", .invalidArgument)
        }
        _ = try retryingOnInterrupt("TUNSETVNETHDRSZ") { swv_tun_set_header_size(raw, Int32(Self.headerSize)) }
        try tap.setNonBlocking()
        descriptor = tap
    }

    /// Says which unfinished packets may be read, from any queue of the interface.
    public func setOffloads(_ offloads: TapOffloads) throws(SystemError) {
        let raw = descriptor.rawValue
        _ = try retryingOnInterrupt("TUNSETOFFLOAD") { swv_tun_set_offload(raw, UInt(offloads.rawValue)) }
    }

    /// Attaches the queue, or detaches it so that the kernel puts no frames into it; it can then not be read or written (EBADFD). Needs
    /// a multi-queue interface. To repeat what is so already changes nothing.
    public func setAttached(_ attached: Bool) throws(SystemError) {
        let raw = descriptor.rawValue
        if swv_tun_set_queue(raw, attached ? 1 : 0) == 0 { return }
        // The kernel's answer to a queue that is what it should become.
        let failure = Errno.current
        guard failure == .invalidArgument else { throw SystemError("TUNSETQUEUE", failure) }
    }

    /// Says whether the interface stays when its last queue is closed.
    public func setPersistent(_ persistent: Bool) throws(SystemError) {
        let raw = descriptor.rawValue
        _ = try retryingOnInterrupt("TUNSETPERSIST") { swv_tun_set_persistent(raw, persistent ? 1 : 0) }
    }
}

/// A network interface of the calling thread's network namespace, by name.
public struct NetworkInterface: Sendable {
    /// The interface's name.
    public let name: String

    /// The interface of that name, if there is one.
    public init?(existing name: String) {
        guard unsafe if_nametoindex(name) != 0 else { return nil }
        self.name = name
    }

    /// The interface that a queue belongs to.
    public init(of queue: TapQueue) { name = queue.name }

    /// Raises the interface (IFF_UP). Needs CAP_NET_ADMIN.
    public func raise() throws(SystemError) {
        try call("SIOCSIFFLAGS") { unsafe swv_if_raise($0, name, Int32(IFF_UP)) }
    }

    /// The largest payload of a frame in bytes.
    public func mtu() throws(SystemError) -> Int {
        var mtu: Int32 = 0
        try call("SIOCGIFMTU") { unsafe swv_if_get_mtu($0, name, &mtu) }
        return Int(mtu)
    }

    /// Sets the largest payload of a frame in bytes. Needs CAP_NET_ADMIN.
    public func setMTU(_ mtu: Int) throws(SystemError) {
        try call("SIOCSIFMTU") { unsafe swv_if_set_mtu($0, name, Int32(clamping: mtu)) }
    }

    /// The interface's own hardware address (of the host's end, not of the guest's), 6 bytes.
    public func hardwareAddress() throws(SystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 6)
        try call("SIOCGIFHWADDR") { socket in
            unsafe bytes.withUnsafeMutableBufferPointer { unsafe swv_if_get_mac(socket, name, $0.baseAddress) }
        }
        return bytes
    }

    private func call(_ name: StaticString, _ body: (Int32) -> Int32) throws(SystemError) {
        let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let socket = OwnedDescriptor(owning: try retryingOnInterrupt("socket") { Glibc.socket(AF_INET, type, 0) })
        _ = try retryingOnInterrupt(name) { body(socket.rawValue) }
    }
}

/// The network namespace of the calling thread.
public enum NetworkNamespace {
    /// Moves the calling thread into a new, empty network namespace. Needs CAP_SYS_ADMIN.
    public static func leave() throws(SystemError) {
        _ = try retryingOnInterrupt("unshare") { unshare(SWV_CLONE_NEWNET) }
    }
}

/// Runs `body` on an interface name as the kernel wants it, and returns what is there afterwards.
private func withName(
    _ name: String, _ body: (UnsafeMutablePointer<CChar>) throws(SystemError) -> Void
) throws(SystemError) -> String {
    var buffer = [CChar](repeating: 0, count: Int(SWV_TAP_NAME_SIZE))
    for (index, byte) in name.utf8.prefix(buffer.count - 1).enumerated() { buffer[index] = CChar(bitPattern: byte) }
    var failure: SystemError?
    unsafe buffer.withUnsafeMutableBufferPointer { pointer in
        guard let base = pointer.baseAddress else { return }
        do throws(SystemError) { try unsafe body(base) } catch { failure = error }
    }
    if let failure { throw failure }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
