/// A rule of the specification that the driver broke. The device answers with DEVICE_NEEDS_RESET; the queue itself stays as it was.
public enum QueueFault: Error, Equatable, Sendable {
    /// The size is zero, above the maximum, or no power of two in the split format (2.7, 2.8).
    case size(UInt16, maximum: UInt16)
    /// A part of the queue is not aligned (2.7, 2.8.10.1).
    case misaligned(RingArea, address: UInt64)
    /// A part of the queue does not lie in memory.
    case areaOutsideMemory(RingArea, address: UInt64, bytes: Int)
    /// A saved position cannot belong to a queue of this size.
    case position(QueuePosition, size: UInt16)
    /// The available index is further ahead than the queue has entries (2.7.13).
    case availableIndex(UInt16, next: UInt16, size: UInt16)
    /// The driver made more descriptors available than the queue has (2.8.6.1).
    case ringOverrun(size: UInt16)
    /// An available ring entry names no descriptor.
    case headOutOfRange(UInt16, size: UInt16)
    /// A descriptor continues at an index that its table does not have.
    case nextOutOfRange(UInt16, size: UInt16)
    /// A chain is longer than the queue size, or loops (2.7.5.3.1, 2.8.6.1).
    case chainTooLong(limit: UInt16)
    /// A chain has more segments than the device accepts (2.7.4.1).
    case tooManySegments(limit: Int)
    /// The buffers of a chain exceed 2³²−1 bytes (2.7.5.2).
    case tooManyBytes(Int)
    /// A device-readable descriptor follows a device-writable one (2.7.4.2, 2.8.6.1).
    case readableAfterWritable(UInt16)
    /// A buffer does not lie in memory.
    case bufferOutsideMemory(address: UInt64, count: UInt32)
    /// An indirect descriptor although VIRTIO_F_INDIRECT_DESC was not negotiated (2.7.5.3.1, 2.8.8.1).
    case indirectNotNegotiated
    /// An indirect descriptor that continues, or in the packed format one within a list (2.7.5.3.1, 2.8.8.1).
    case indirectInChain
    /// An indirect descriptor within an indirect table (2.7.5.3.1).
    case indirectNested
    /// The length of an indirect table is zero, no multiple of 16, or more than the queue size allows (2.7.5.3).
    case indirectTableLength(UInt32, size: UInt16)
    /// An indirect table does not lie in memory.
    case indirectTableOutsideMemory(address: UInt64, count: UInt32)
    /// A list continues at a descriptor that was not made available (2.8.6, 2.8.15.1).
    case descriptorNotAvailable(UInt16)
}

extension QueueFault: CustomStringConvertible {
    /// One sentence for the log.
    public var description: String {
        switch self {
        case .size(let size, let maximum):
            "queue size \(size) is not allowed (at most \(maximum), and a power of two for split rings)"
        case .misaligned(let area, let address):
            "the \(area.name) at address \(address) is not aligned as its format requires"
        case .areaOutsideMemory(let area, let address, let bytes):
            "the \(area.name) at address \(address) with \(bytes) bytes does not lie in memory"
        case .position(let position, let size):
            "the position \(position.available)/\(position.used) cannot belong to a queue of size \(size)"
        case .availableIndex(let index, let next, let size):
            "the available index \(index) is more than the queue size \(size) ahead of entry \(next)"
        case .ringOverrun(let size):
            "the driver made more than the queue's \(size) descriptors available at once"
        case .headOutOfRange(let head, let size):
            "an available ring entry names descriptor \(head) of a queue of size \(size)"
        case .nextOutOfRange(let next, let size):
            "a descriptor continues at index \(next) of a table of \(size) entries"
        case .chainTooLong(let limit):
            "a descriptor chain is longer than \(limit) descriptors or loops"
        case .tooManySegments(let limit):
            "a descriptor chain has more than the \(limit) segments that this device accepts"
        case .tooManyBytes(let count):
            "a descriptor chain describes \(count) bytes, more than 4294967295"
        case .readableAfterWritable(let head):
            "the chain with id \(head) has a device-readable descriptor after a device-writable one"
        case .bufferOutsideMemory(let address, let count):
            "a buffer of \(count) bytes at address \(address) does not lie in memory"
        case .indirectNotNegotiated:
            "an indirect descriptor was used although VIRTIO_F_INDIRECT_DESC was not negotiated"
        case .indirectInChain:
            "an indirect descriptor is linked to further descriptors"
        case .indirectNested:
            "an indirect table contains an indirect descriptor"
        case .indirectTableLength(let length, let size):
            "an indirect table has \(length) bytes, which must be a positive multiple of 16 and at most 16 times the queue size \(size)"
        case .indirectTableOutsideMemory(let address, let count):
            "an indirect table of \(count) bytes at address \(address) does not lie in memory"
        case .descriptorNotAvailable(let index):
            "a descriptor list continues at descriptor \(index), which was not made available"
        }
    }
}

extension RingArea {
    /// The specification's name of this part.
    var name: String {
        switch self {
        case .descriptor: "descriptor area"
        case .driver: "driver area"
        case .device: "device area"
        }
    }
}
