import Host
import Virtqueue

/// Memory in which the requests in flight of all queues are noted: made by one back-end, kept by the front-end, and given to the next one
/// (vhost-user, Inflight I/O tracking).
final class InFlightMemory: Sendable {
    private let mapping: MemoryMapping
    private let description: InFlightDescription

    /// Memory for queues of the format; its descriptor goes to the front-end, which brings it back.
    static func make(
        queueCount: UInt16, queueSize: UInt16, _ format: RingFormat
    ) throws(SystemError) -> (file: Slot<OwnedDescriptor>, description: InFlightDescription) {
        let size = UInt64(queueCount) * UInt64(InFlightLog.byteCount(format, size: queueSize))
        let file = try makeMemoryFile(name: "in flight", size: size)
        try file.seal()
        return (Slot(file), InFlightDescription(size: size, offset: 0, queueCount: queueCount, queueSize: queueSize))
    }

    /// Maps what a front-end has brought. EFBIG for a file that is shorter than described, EINVAL for a description that no file can have.
    init(_ file: consuming OwnedDescriptor, _ description: InFlightDescription) throws(SystemError) {
        let (end, overflow) = description.offset.addingReportingOverflow(description.size)
        guard !overflow, description.size > 0, description.offset % 8 == 0, let count = Int(exactly: end) else {
            throw SystemError("mmap", .invalidArgument)
        }
        guard try file.status().size >= end else { throw SystemError("mmap", .fileTooLarge) }
        mapping = try MemoryMapping(file, count: count)
        self.description = description
    }

    /// The log of a queue; nil when there is no room for it.
    func log(_ index: Int, _ format: RingFormat, size: UInt16) -> InFlightLog? {
        guard index < Int(description.queueCount), size <= description.queueSize else { return nil }
        let stride = InFlightLog.byteCount(format, size: description.queueSize)
        // Both are below 2³¹.
        let (start, overflow) = Int(clamping: description.offset).addingReportingOverflow(index * stride)
        guard !overflow else { return nil }
        return InFlightLog(mapping.range.slice(from: start, count: stride), owner: mapping, format: format, size: size)
    }

    /// Forgets everything.
    func clear() { mapping.range.slice(from: Int(clamping: description.offset)).fill(0) }
}
