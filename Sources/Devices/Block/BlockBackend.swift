import Host
import Synchronization
import Virtqueue

/// The open disk, and what device and workers know about it together.
final class BlockBackend: Sendable {
    let image: OwnedDescriptor
    let directImage: OwnedDescriptor?
    let directAlignment: DirectAlignment
    let isBlockDevice: Bool
    /// Whether no transfer waits for storage.
    let isInMemory: Bool
    let readOnly: Bool
    /// The device ID string: 20 bytes, padded with zeros (virtio 1.3, 5.2.6).
    let identity: [UInt8]
    /// The size in sectors; a resize changes it.
    let capacity: Atomic<UInt64>
    /// Whether completed writes may still be volatile; otherwise each is followed by fdatasync.
    let writeback: Atomic<Bool>
    /// Zeros to write where the host cannot make them. Never written to, so all of its pages are the kernel's one page of zeros.
    private let zeros: MemoryMapping

    init(
        image: consuming OwnedDescriptor, directImage: consuming OwnedDescriptor?, properties: BlockImage.Properties, readOnly: Bool,
        serial: String, writeback: Bool
    ) throws(SystemError) {
        // A file that was opened with O_NONBLOCK (lest opening a FIFO should hang) makes io_uring answer EAGAIN, instead of waiting, on file
        // systems that cannot do without waiting, such as 9p.
        try image.setNonBlocking(false)
        self.image = image
        self.directImage = directImage
        self.directAlignment = properties.directAlignment
        self.isBlockDevice = properties.isBlockDevice
        self.isInMemory = self.directImage == nil && self.image.isInMemory
        self.readOnly = readOnly
        let bytes = Array(serial.utf8.prefix(BlockLimits.identity))
        self.identity = bytes + [UInt8](repeating: 0, count: BlockLimits.identity - bytes.count)
        self.capacity = Atomic(properties.size / BlockLimits.sector)
        self.writeback = Atomic(writeback)
        self.zeros = try MemoryMapping(anonymous: 1 << 20)
    }

    /// What must survive into the device's own process.
    var descriptors: [Int32] {
        switch directImage {
        case .some(let direct): [image.rawValue, direct.rawValue]
        case .none: [image.rawValue]
        }
    }

    /// Up to `count` zero bytes, as a range to write from.
    func zeroBytes(_ count: UInt64) -> HostRange { zeros.range.slice(from: 0, count: Int(clamping: count)) }

    /// Whether a transfer goes past the page cache.
    func goesDirect(_ ranges: Span<HostRange>, at offset: UInt64) -> Bool {
        directImage != nil && directAlignment.allows(ranges, at: offset)
    }

    /// The descriptor's number for a transfer: past the page cache where that is wanted and possible.
    func descriptor(for ranges: Span<HostRange>, at offset: UInt64) -> Int32 {
        switch directImage {
        case .some(let direct) where directAlignment.allows(ranges, at: offset): direct.rawValue
        default: image.rawValue
        }
    }

    /// Reads with a system call of its own, by the same way as `descriptor` chooses.
    func read(into ranges: Span<HostRange>, at offset: UInt64) throws(SystemError) -> Int {
        switch directImage {
        case .some(let direct) where directAlignment.allows(ranges, at: offset): try direct.read(into: ranges, at: offset)
        default: try image.read(into: ranges, at: offset)
        }
    }

    /// Writes with a system call of its own, by the same way as `descriptor` chooses.
    func write(from ranges: Span<HostRange>, at offset: UInt64) throws(SystemError) -> Int {
        switch directImage {
        case .some(let direct) where directAlignment.allows(ranges, at: offset): try direct.write(from: ranges, at: offset)
        default: try image.write(from: ranges, at: offset)
        }
    }

    /// Whether the host can give back parts of the image. Asks for a hole behind the end of a file, where there is nothing to lose.
    func canDiscard(size: UInt64) -> Bool {
        if readOnly { return false }
        if isBlockDevice { return true }
        do {
            try image.allocate(.punchHole, at: size, count: BlockLimits.sector)
            return true
        } catch {
            return false
        }
    }
}
