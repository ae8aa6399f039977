import FuzzSupport
import VhostUser

/// Arbitrary bytes as a message of a front-end and as an answer of a back-end: the first byte is the number of descriptors, then come a
/// header and a payload. What is read must be written as something that is read as the same.
@main
enum FuzzCodec {
    static func main() {
        FuzzTarget(seeds: { Messages.all.map { [$0.payload.count > 1000 ? 32 : 0] + $0.bytes() } + withDescriptor }) { try feed($0) }.main()
    }

    /// Messages that nobody reads without a descriptor.
    private static var withDescriptor: [[UInt8]] { Messages.all.map { [1] + $0.bytes() } }

    private static func feed(_ input: [UInt8]) throws {
        var script = Script(input)
        let descriptors = Int(script.byte())
        let head = script.take(MessageHeader.byteCount)
        let payload = script.rest()
        guard let header = read({ () throws(VhostUserError) in try MessageHeader(head.span) }) else { return }
        guard try MessageHeader(header.bytes.span) == header else { fatalError("\(header) changes when it is written.") }
        answer(header.request, payload)
        let message = read { () throws(VhostUserError) in try FrontEndMessage(header, payload.span, descriptors: descriptors) }
        guard let message else { return }
        let again = try FrontEndMessage(
            MessageHeader(request: message.request.rawValue, size: message.payload.count), message.payload.span, descriptors: descriptors)
        guard again == message else { fatalError("\(message) became \(again).") }
    }

    /// What is refused must be so by a violation, with a sentence.
    private static func read<Value>(_ body: () throws(VhostUserError) -> Value) -> Value? {
        do throws(VhostUserError) { return try body() } catch {
            guard error.kind == .violation, error.description.hasSuffix(".") else { fatalError("An odd refusal: \(error)") }
            return nil
        }
    }

    private static func answer(_ number: UInt32, _ payload: [UInt8]) {
        guard let request = FrontEndRequest(rawValue: number) else { return }
        let reply = read { () throws(VhostUserError) in try BackEndReply(to: request, payload.span) }
        guard let reply else { return }
        let again = read { () throws(VhostUserError) in try BackEndReply(to: request, reply.payload.span) }
        guard again == reply else { fatalError("\(reply) became \(String(describing: again)).") }
    }
}
