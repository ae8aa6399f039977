import Host
import Virtqueue

/// A stream socket in the framing of QEMU's `-netdev stream`: each frame behind its length, 32 bits with the most significant byte first.
///
/// No header travels with a frame, so nothing unfinished may be sent or received: the device offers no offloads on it.
struct StreamLink: ~Copyable, NetworkLink {
    private static let prefixSize = 4

    private let socket: OwnedDescriptor
    /// Bytes from the peer that were not taken yet are `input[first..<end]`.
    private var input = ByteBuffer(count: 2 * (prefixSize + NetworkFrame.maxSize))
    private var first = 0
    private var end = 0
    /// The size of the frame at `first` that was returned last, its prefix included; 0 when there is none.
    private var current = 0
    /// The header that the driver gets: all zero but for num_buffers.
    private var header = ByteBuffer(count: NetworkFrame.headerSize)
    /// The rest of a frame that the socket took in part is `output[outputFirst..<outputEnd]`. A frame's prefix is made at its beginning.
    private var output = ByteBuffer(count: prefixSize + NetworkFrame.maxSize)
    private var outputFirst = 0
    private var outputEnd = 0
    /// The socket has refused a whole frame.
    private var isFull = false
    private var ranges: [HostRange] = []

    /// Takes a connected stream socket over.
    init(_ socket: consuming OwnedDescriptor) throws(SystemError) {
        try socket.setNonBlocking()
        self.socket = socket
        ranges.reserveCapacity(64)
    }

    static var keepsReceivedFrame: Bool { true }
    var rawDescriptor: Int32 { socket.rawValue }
    var wantsToWrite: Bool { isFull || outputEnd > outputFirst }

    mutating func receive(into chain: inout ChainBuffer) throws(LinkDown) -> ReceivedFrame? {
        while true {
            if let size = try nextFrameSize(), end - first >= Self.prefixSize + size {
                current = Self.prefixSize + size
                // Too short to be a frame: left out, the next one is in step.
                guard size >= NetworkFrame.minSize else {
                    finishFrame()
                    continue
                }
                header.range().fill(0)
                return ReceivedFrame(placed: 0, pending: size, header: header.range(), destination: destination())
            }
            if try !fill() { return nil }
        }
    }

    /// The length in the prefix at `first`; nil when the prefix is not there yet.
    private borrowing func nextFrameSize() throws(LinkDown) -> Int? {
        guard end - first >= Self.prefixSize, let prefix = input.range(from: first).load(at: 0, as: UInt32.self) else { return nil }
        let size = Int(prefix.byteSwapped)
        // Whoever announces more than a frame can have has lost the framing; nothing that follows can be trusted.
        guard size <= NetworkFrame.maxSize else { throw LinkDown(reason: "its peer announced a frame of \(size) bytes") }
        return size
    }

    private borrowing func destination() -> MACAddress {
        let frame = input.range(from: first + Self.prefixSize)
        guard let high = frame.load(at: 0, as: UInt32.self), let low = frame.load(at: 4, as: UInt16.self) else { return .broadcast }
        return MACAddress(value: UInt64(high.byteSwapped) << 16 | UInt64(low.byteSwapped))
    }

    /// Reads more; false when nothing is there.
    private mutating func fill() throws(LinkDown) -> Bool {
        if first == end {
            first = 0
            end = 0
        } else if input.count - first < Self.prefixSize + NetworkFrame.maxSize {
            input.move(from: first, count: end - first, to: 0)
            end -= first
            first = 0
        }
        let count: Int
        do {
            ranges.removeAll(keepingCapacity: true)
            ranges.append(input.range(from: end))
            count = try socket.read(into: ranges.span)
        } catch {
            if error.errno == .wouldBlock { return false }
            throw Self.down(error)
        }
        guard count > 0 else { throw LinkDown(reason: "its peer has closed the connection") }
        end += count
        return true
    }

    private static func down(_ error: SystemError) -> LinkDown { LinkDown(reason: "its peer is gone (\(error.errno))") }

    mutating func finishFrame() {
        first += current
        current = 0
    }

    mutating func copyHeader(into chain: inout ChainBuffer) { chain.write(header.bytes()) }

    mutating func copyPending(from offset: Int, into chain: inout ChainBuffer) -> Int {
        let start = Self.prefixSize + offset
        return chain.write(input.bytes(from: first + start, count: current - start))
    }

    mutating func send(_ chain: inout ChainBuffer) throws(LinkDown) -> SendResult {
        if outputEnd > outputFirst { try flush() }
        guard !wantsToWrite else { return .blocked }
        let size = chain.readableBytes - NetworkFrame.headerSize
        guard (NetworkFrame.minSize...NetworkFrame.maxSize).contains(size) else { return .lost }
        chain.skipReadable(1)
        // Segmentation was not offered: whoever asks for it loses the packet.
        guard chain.readInteger(as: UInt8.self) == 0 else { return .lost }
        chain.skipReadable(NetworkFrame.headerSize - 2)
        output.range().store(UInt32(truncatingIfNeeded: size).byteSwapped, at: 0)
        ranges.removeAll(keepingCapacity: true)
        ranges.append(output.range(count: Self.prefixSize))
        ranges.append(all: chain.readable)
        let sent: Int
        do {
            sent = try socket.send(from: ranges.span)
        } catch {
            guard error.errno == .wouldBlock else { throw Self.down(error) }
            isFull = true
            return .blocked
        }
        keepRest(of: &chain, sent: sent, size: size)
        return .done
    }

    /// Keeps what the socket did not take of a frame that it has begun: the peer must get it, or it loses the framing.
    private mutating func keepRest(of chain: inout ChainBuffer, sent: Int, size: Int) {
        guard sent < Self.prefixSize + size else { return }
        outputFirst = min(sent, Self.prefixSize)
        chain.skipReadable(sent - Self.prefixSize)
        outputEnd = Self.prefixSize + output.copyReadable(of: &chain, to: Self.prefixSize)
    }

    mutating func flush() throws(LinkDown) {
        isFull = false
        guard outputEnd > outputFirst else { return }
        do {
            let sent = try socket.send(output.bytes(from: outputFirst, count: outputEnd - outputFirst))
            outputFirst += sent
        } catch {
            guard error.errno == .wouldBlock else { throw Self.down(error) }
        }
    }

    mutating func pause() { isFull = false }
}
