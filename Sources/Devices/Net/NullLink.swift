import Host
import Virtqueue

/// A link to nowhere: no frame ever comes, and what is sent is gone.
struct NullLink: ~Copyable, NetworkLink {
    /// Never signalled.
    private let event: EventFD

    init() throws(SystemError) { event = try EventFD() }

    static var keepsReceivedFrame: Bool { true }
    var rawDescriptor: Int32 { event.rawValue }
    var wantsToWrite: Bool { false }

    mutating func receive(into chain: inout ChainBuffer) -> ReceivedFrame? { nil }
    mutating func finishFrame() {}
    mutating func copyHeader(into chain: inout ChainBuffer) {}
    mutating func copyPending(from offset: Int, into chain: inout ChainBuffer) -> Int { 0 }
    mutating func send(_ chain: inout ChainBuffer) -> SendResult { .done }
    mutating func flush() {}
    mutating func pause() {}
}
