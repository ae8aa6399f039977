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

    /// Maps `count` bytes of RAM for a guest: zeroed memory that is private to this process, or all of a memory file.
    ///
    /// It begins at a multiple of the size of a huge page, as guest-physical addresses do, so that huge pages of this process are huge pages
    /// to the guest as well; they are asked for from `hugePagesFrom` on (a multiple of their size). Children do not get it.
    public init(guestMemory count: Int, file: borrowing OwnedDescriptor? = nil, hugePagesFrom: Int = 0) throws(SystemError) {
        let (reservation, overflow) = count.addingReportingOverflow(Self.hugePage)
        guard !overflow, count > 0, count % 4096 == 0 else { throw SystemError("mmap", .invalidArgument) }
        let reserved = try Self.map(reservation, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        let head = unsafe (Self.hugePage - Int(bitPattern: reserved.base) % Self.hugePage) % Self.hugePage
        let base = unsafe reserved.base + head
        if head > 0 { unsafe munmap(reserved.base, head) }
        unsafe munmap(base + count, Self.hugePage - head)
        range = unsafe HostRange(base: base, count: count)
        let raw: Int32? =
            switch file {
            case .some(let file): file.rawValue
            case .none: nil
            }
        if let raw {
            guard unsafe mmap(base, count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, raw, 0) != MAP_FAILED else {
                // `range` is set: deinit unmaps it.
                throw SystemError("mmap", .current)
            }
        }
        unsafe madvise(base, count, MADV_DONTFORK)
        // Kernels without huge pages refuse, which changes nothing else.
        let small = min(max(hugePagesFrom, 0), count)
        if small > 0 { unsafe madvise(base, small, MADV_NOHUGEPAGE) }
        if count > small { unsafe madvise(base + small, count - small, MADV_HUGEPAGE) }
    }

    /// Maps `count` bytes of a file from `fileOffset` in the place of what lies `offset` bytes in; all three are multiples of 4096.
    ///
    /// Writes stay private to this process, what is only read is shared with everybody who has the file mapped, and children do not get it.
    /// Nobody may be using that part meanwhile. A file that is truncated later makes every access beyond its end a SIGBUS; nothing can keep
    /// somebody with the right to write it from doing that, since only memory files can be sealed.
    public func place(_ file: borrowing OwnedDescriptor, from fileOffset: UInt64, at offset: Int, count: Int) throws(SystemError) {
        let part = range.slice(from: offset, count: count)
        guard count > 0, offset >= 0, part.count == count, (offset | count) % 4096 == 0, fileOffset % 4096 == 0,
            let position = off_t(exactly: fileOffset)
        else { throw SystemError("mmap", .invalidArgument) }
        let flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE
        guard unsafe mmap(part.base, count, PROT_READ | PROT_WRITE, flags, file.rawValue, position) != MAP_FAILED else {
            throw SystemError("mmap", .current)
        }
        unsafe madvise(part.base, count, MADV_DONTFORK)
    }

    /// Reads the part `offset` bytes in, so that later reads of it fault no more (MADV_POPULATE_READ); what a file backs stays shared.
    /// Kernels before 5.14 do nothing.
    public func populate(at offset: Int, count: Int) throws(SystemError) {
        let part = range.slice(from: offset, count: count)
        do throws(SystemError) {
            _ = try retryingOnInterrupt("madvise") { unsafe madvise(part.base, part.count, SWV_MADV_POPULATE_READ) }
        } catch {
            if error.errno != .invalidArgument { throw error }
        }
    }

    /// The size of a huge page on x86-64, in bytes.
    public static let hugePage = 2 << 20

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

    /// Whether it is a memory file that nobody can shrink any more, so that a mapping of it never faults: of ordinary pages, and sealed.
    public borrowing func isSealedMemory() -> Bool { swv_is_sealed_memory(rawValue) != 0 }
}
