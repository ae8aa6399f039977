public import Host
public import VhostUser
import Virtqueue

/// What the unit tests have of messages.
public enum Messages {
    /// At least one of every kind.
    public static var all: [FrontEndMessage] { Samples.messages }
}

extension FrontEndMessage {
    /// The message as it goes over the wire.
    public func bytes(needsReply: Bool = false) -> [UInt8] {
        let payload = payload
        return MessageHeader(request: request.rawValue, needsReply: needsReply, size: payload.count).bytes + payload
    }
}

extension OwnedDescriptor {
    /// Reads what there is of a non-blocking socket, and closes what came with it; false when the other end has left.
    public borrowing func discard() -> Bool {
        while true {
            do throws(SystemError) {
                if try discardSome() == 0 { return false }
            } catch {
                return error.errno == .wouldBlock
            }
        }
    }

    private borrowing func discardSome() throws(SystemError) -> Int {
        var bytes = [UInt8](repeating: 0, count: 4096)
        var span = bytes.mutableSpan
        var untyped = span.untyped
        var passed = PassedDescriptors()
        return try receive(into: &untyped, passed: &passed)
    }
}
