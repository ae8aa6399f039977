import Host
import Schema
import Synchronization

/// The machine's end of a socket to its supervisor: one request after the other, each answered before the next is read.
final class ServedChannel: Sendable {
    private let stream: MessageStream
    private let shownAt = Mutex<Int64>(0)

    /// Signs of progress go out this often at most, in milliseconds.
    static let interval: Int64 = 1000

    init(inherited raw: Int32) throws(SystemError) { stream = try MessageStream(try OwnedDescriptor.adopting(inherited: raw)) }

    /// Has requests carried out until the supervisor leaves; nil for one that has no answer. What is no request is refused.
    func serve(
        _ carryOut: (MachineRequest, inout PassedDescriptors) throws(MachineAssembly.Failure) -> JSONValue?
    ) {
        while let (message, slot) = try? stream.receive(within: nil), var descriptors = slot.take() {
            var answer: MachineAnswer?
            do throws(MachineAssembly.Failure) {
                answer = try carryOut(try Self.request(message), &descriptors).map { .done($0) }
            } catch {
                answer = .refused(error.error, device: error.device)
            }
            guard let answer else { continue }
            guard (try? stream.send(answer.json)) != nil else { return }
        }
    }

    private static func request(_ message: JSONValue) throws(MachineAssembly.Failure) -> MachineRequest {
        do throws(StateError) { return try MachineRequest(message) } catch {
            throw MachineAssembly.Failure(VMError(.failure, "The machine's process does not understand what it is asked: \(error)"))
        }
    }

    /// Tells the supervisor, who waits for an answer, that there will be one: not before it has asked, and not after the answer.
    func showProgress() {
        let now = MonotonicTime.now
        let isDue = shownAt.withLock { shownAt in
            guard now >= shownAt + Self.interval else { return false }
            shownAt = now
            return true
        }
        if isDue { try? stream.send(MachineAnswer.working.json) }
    }
}
