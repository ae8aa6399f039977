import Host
import Virtqueue

/// One queue of a tap: a frame is one `readv` or `writev`, with the header that the driver sees, straight from and to guest memory.
struct TapLink: ~Copyable, NetworkLink {
    private let queue: TapQueue
    /// The rest of a frame that did not fit into the first chain.
    private var overflow = ByteBuffer(count: NetworkFrame.headerSize + NetworkFrame.maxSize)
    /// How many bytes of it there are.
    private var pending = 0
    /// A header whose place in guest memory is in more than one piece.
    private var header = ByteBuffer(count: NetworkFrame.headerSize)
    /// The ranges of one call, kept so that it is allocated only once.
    private var ranges: [HostRange] = []
    private(set) var wantsToWrite = false

    init(_ queue: TapQueue) {
        self.queue = consume queue
        ranges.reserveCapacity(64)
    }

    static var keepsReceivedFrame: Bool { false }
    var rawDescriptor: Int32 { queue.descriptor.rawValue }

    mutating func receive(into chain: inout ChainBuffer) throws(LinkDown) -> ReceivedFrame? {
        ranges.removeAll(keepingCapacity: true)
        // A header that lies in one piece can be written to where it is (num_buffers is known only later); any other goes through a copy.
        var place = header.range()
        ranges.append(all: chain.writable)
        let isDirect = ranges.count < 512 && (ranges.first?.count ?? 0) >= NetworkFrame.headerSize
        if isDirect {
            place = ranges[0].slice(from: 0, count: NetworkFrame.headerSize)
        } else {
            ranges.removeAll(keepingCapacity: true)
            ranges.append(place)
        }
        ranges.append(overflow.range())
        let count: Int
        do {
            count = try queue.descriptor.read(into: ranges.span)
        } catch {
            if error.errno == .wouldBlock { return nil }
            throw LinkDown(reason: "the tap \(queue.name) is gone (\(error.errno))")
        }
        // The address is read back from guest memory; a driver that changes it meanwhile only deceives its own filter.
        let destination = ranges.span.address(at: NetworkFrame.headerSize) ?? .broadcast
        let placed = isDirect ? chain.skipWritable(count) : 0
        pending = max(count - (isDirect ? placed : NetworkFrame.headerSize), 0)
        return ReceivedFrame(placed: placed, pending: pending, header: place, destination: destination)
    }

    mutating func finishFrame() {}

    mutating func copyHeader(into chain: inout ChainBuffer) {
        chain.write(header.bytes())
    }

    mutating func copyPending(from offset: Int, into chain: inout ChainBuffer) -> Int {
        chain.write(overflow.bytes(from: offset, count: pending - offset))
    }

    mutating func send(_ chain: inout ChainBuffer) throws(LinkDown) -> SendResult {
        // The kernel takes 1024 ranges at a time, and half a frame is none.
        guard chain.readableBytes >= NetworkFrame.headerSize + NetworkFrame.minSize, chain.readable.count <= 1024 else { return .lost }
        wantsToWrite = false
        do {
            _ = try queue.descriptor.write(from: chain.readable)
        } catch {
            // A frame that the kernel refuses (a header that makes no sense, an interface that is down) is lost.
            wantsToWrite = error.errno == .wouldBlock
            return wantsToWrite ? .blocked : .lost
        }
        return .done
    }

    mutating func flush() throws(LinkDown) { wantsToWrite = false }

    mutating func pause() { wantsToWrite = false }
}
