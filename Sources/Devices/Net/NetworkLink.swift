import Host
import Virtqueue

/// A frame that has arrived, perhaps only in part in the buffer that it was received into.
struct ReceivedFrame {
    /// Bytes that are in the first chain already, header included; 0 when the header and all of the frame are still to be copied.
    let placed: Int
    /// Bytes of the frame in the link's own buffer, behind those that were placed.
    let pending: Int
    /// The header: in guest memory when something was placed, else in the link's own memory.
    let header: HostRange
    /// To whom the frame goes.
    let destination: MACAddress
}

/// What became of a frame that was to be sent.
enum SendResult {
    /// It is gone.
    case done
    /// It could never be sent and is lost, as a network may lose it.
    case lost
    /// The link cannot take it now; nothing of it was sent.
    case blocked
}

/// The other end is gone for good; the reason continues a sentence.
struct LinkDown: Error {
    let reason: String
}

/// Where the frames of one queue pair go: a queue of a tap, or a stream socket. Used by one thread, never waits.
protocol NetworkLink: ~Copyable, Sendable {
    /// Whether a received frame comes again when its chains were given back before `finishFrame`; else it is lost.
    static var keepsReceivedFrame: Bool { get }
    /// The descriptor to wait on.
    var rawDescriptor: Int32 { get }
    /// Whether to wait until the descriptor can be written.
    var wantsToWrite: Bool { get }
    /// The next frame, received as far as possible straight into the chain's writable part; nil when none is there. Until
    /// `finishFrame` a frame that is wholly in the link's own buffer comes again.
    mutating func receive(into chain: inout ChainBuffer) throws(LinkDown) -> ReceivedFrame?
    /// The received frame was delivered, or is not wanted.
    mutating func finishFrame()
    /// Copies a part of the received frame from the link's own buffer: header first when nothing was placed.
    mutating func copyHeader(into chain: inout ChainBuffer)
    /// Copies pending bytes from `offset` of them into the chain, as many as fit; returns how many.
    mutating func copyPending(from offset: Int, into chain: inout ChainBuffer) -> Int
    /// Sends a chain: the header, then the frame.
    mutating func send(_ chain: inout ChainBuffer) throws(LinkDown) -> SendResult
    /// Writes what an earlier `send` could not; called when the descriptor can be written.
    mutating func flush() throws(LinkDown)
    /// The worker stops: waits for nothing any more. Frames that are half received or half sent stay, or the two ends lose step.
    mutating func pause()
}

extension [HostRange] {
    /// Appends every range of a chain's half.
    mutating func append(all ranges: Span<HostRange>) {
        for index in ranges.indices { append(ranges[index]) }
    }
}

extension Span where Element == HostRange {
    /// The 48-bit number in the six bytes from `offset` of all ranges together; nil when there are fewer.
    func address(at offset: Int) -> MACAddress? {
        var value: UInt64 = 0
        var left = 6
        var skip = offset
        for index in indices {
            let range = self[index]
            while left > 0, let byte = range.load(at: skip, as: UInt8.self) {
                value = value << 8 | UInt64(byte)
                skip += 1
                left -= 1
            }
            skip = Swift.max(skip - range.count, 0)
            if left == 0 { return MACAddress(value: value) }
        }
        return nil
    }
}
