import CLinux
import Glibc
public import Virtqueue

/// A shared, readable and writable mapping of a descriptor or of anonymous memory, unmapped when its owner goes.
public final class MemoryMapping: Sendable {
    /// All of the mapping.
    public let range: HostRange

    /// Maps `count` bytes of a descriptor from `offset` (a multiple of the page size).
    ///
    /// `shared` false makes writes private to this process, as a restored guest's memory is.
    public init(_ descriptor: borrowing OwnedDescriptor, offset: UInt64 = 0, count: Int, shared: Bool = true) throws(SystemError) {
        let flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE
        range = try Self.map(count, flags, descriptor.rawValue, offset)
    }

    /// Maps `count` bytes of zeroed anonymous memory, private to this process.
    public init(anonymous count: Int) throws(SystemError) {
        range = try Self.map(count, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    }

    private static func map(_ count: Int, _ flags: Int32, _ raw: Int32, _ offset: UInt64) throws(SystemError) -> HostRange {
        guard count > 0, let position = off_t(exactly: offset) else { throw SystemError("mmap", .invalidArgument) }
        guard let base = unsafe mmap(nil, count, PROT_READ | PROT_WRITE, flags, raw, position), unsafe base != MAP_FAILED else {
            throw SystemError("mmap", .current)
        }
        return unsafe HostRange(base: base, count: count)
    }

    deinit { unsafe munmap(range.base, range.count) }
}

/// Makes a memfd(2): an anonymous file that lives in memory and can be handed to other processes.
///
/// It is sealable; `size` is in bytes.
public func makeMemoryFile(name: String, size: UInt64) throws(SystemError) -> OwnedDescriptor {
    let raw = try retryingOnInterrupt("memfd_create") { unsafe memfd_create(name, UInt32(MFD_CLOEXEC) | UInt32(MFD_ALLOW_SEALING)) }
    let descriptor = OwnedDescriptor(owning: raw)
    guard let length = off_t(exactly: size) else { throw SystemError("ftruncate", .invalidArgument) }
    _ = try retryingOnInterrupt("ftruncate") { ftruncate(raw, length) }
    return descriptor
}

extension OwnedDescriptor {
    /// Seals a memfd: nobody can shrink, grow or unseal it any more (F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL).
    public borrowing func seal() throws(SystemError) {
        let raw = rawValue
        _ = try retryingOnInterrupt("fcntl F_ADD_SEALS") {
            fcntl(raw, SWV_F_ADD_SEALS, SWV_F_SEAL_SHRINK | SWV_F_SEAL_GROW | SWV_F_SEAL_SEAL)
        }
    }
}
