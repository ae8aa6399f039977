import CLinux
import Glibc
public import Virtqueue

/// What is known about an open file that could be a disk.
public struct FileStatus: Sendable, Equatable {
    /// The kinds of file that matter here.
    public enum Kind: Sendable, Equatable {
        /// A regular file.
        case regular
        /// A block device.
        case blockDevice
        /// A directory.
        case directory
        /// Anything else.
        case other
    }
    /// What it is.
    public let kind: Kind
    /// Size in bytes; of a block device, that of the device.
    public let size: UInt64
    /// The size of a block of its storage that is best written as a whole, in bytes.
    public let preferredBlockSize: Int
    /// What O_DIRECT demands.
    public let directAlignment: DirectAlignment
}

/// What O_DIRECT demands of a transfer, in bytes, powers of two.
public struct DirectAlignment: Sendable, Equatable {
    /// Of the address and the length of every buffer.
    public let memory: Int
    /// Of the offset in the file and of the whole length; the logical block size below.
    public let offset: Int

    /// An alignment; values that are no powers of two become the strictest that occurs, 4096.
    public init(memory: Int, offset: Int) {
        func checked(_ value: Int) -> Int { value > 0 && value & (value - 1) == 0 ? value : 4096 }
        self.memory = checked(memory)
        self.offset = checked(offset)
    }

    /// Whether a transfer of these ranges at that offset may go past the page cache.
    public func allows(_ ranges: Span<HostRange>, at position: UInt64) -> Bool {
        guard position & UInt64(offset - 1) == 0 else { return false }
        var addresses: UInt = 0
        var lengths = 0
        var total = 0
        for index in ranges.indices {
            let range = ranges[index]
            unsafe addresses |= UInt(bitPattern: range.base)
            lengths |= range.count
            total &+= range.count
        }
        return addresses & UInt(memory - 1) == 0 && lengths & (memory - 1) == 0 && total & (offset - 1) == 0
    }
}

extension OwnedDescriptor {
    /// Kind, size and alignment of the file.
    public borrowing func status() throws(SystemError) -> FileStatus {
        let raw = rawValue
        var facts = swv_file_facts()
        _ = try retryingOnInterrupt("fstat") { unsafe swv_file_status(raw, &facts) }
        let kind: FileStatus.Kind =
            switch facts.kind {
            case 1: .regular
            case 2: .blockDevice
            case 3: .directory
            default: .other
            }
        return FileStatus(
            kind: kind, size: facts.size, preferredBlockSize: Int(facts.preferred_block),
            directAlignment: DirectAlignment(memory: Int(facts.memory_alignment), offset: Int(facts.offset_alignment)))
    }
}
