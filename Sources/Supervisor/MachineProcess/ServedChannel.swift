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

    /// Has requests carried out until the supervisor leaves, or says what is no request; nil for one that has no answer.
    func serve(
        _ carryOut: (MachineRequest, inout PassedDescriptors) throws(MachineAssembly.Failure) -> JSONValue?
    ) {
        while let (message, slot) = try? stream.receive(within: nil), let request = try? MachineRequest(message),
            var descriptors = slot.take()
        {
            var answer: MachineAnswer?
            do throws(MachineAssembly.Failure) {
                answer = try carryOut(request, &descriptors).map { .done($0) }
            } catch {
                answer = .refused(error.error, device: error.device)
            }
            guard let answer else { continue }
            guard (try? stream.send(answer.json)) != nil else { return }
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
