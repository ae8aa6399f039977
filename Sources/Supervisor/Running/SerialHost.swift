import Devices
import Host
import Machine
import Synchronization
import VirtualMachine
import Virtqueue

/// The host's side of the serial port: output goes straight from the vCPU's thread to the back-end, input comes through the runner's loop.
///
/// The lock is a leaf: the port calls `writeSerial` with its own lock held.
final class SerialHost: SerialOutput {
    private let backend: Mutex<CharacterBackend>
    /// Input that the port had no room for yet.
    private let waiting = Mutex<[UInt8]>([])

    init(_ backend: consuming CharacterBackend) { self.backend = Mutex(backend) }

    func writeSerial(_ bytes: Span<UInt8>) -> Int {
        backend.withLock { backend in
            let count = min(bytes.count, backend.room)
            if count > 0 { backend.write(bytes.extracting(first: count).untyped) }
            return count
        }
    }

    /// From now on `poller` is waited on; events come with `token` and `token + 1`.
    func beginWaiting(token: UInt64) { backend.withLock { $0.beginWaiting(token: token) } }

    /// Before every wait; true when something is ready without waiting.
    func updateWaiting(_ poller: borrowing Poller) throws(SystemError) -> Bool {
        let isFull = waiting.withLock { !$0.isEmpty }
        return try backend.withLock { backend throws(SystemError) in try backend.updateWaiting(poller, wantsInput: !isFull) }
    }

    /// Takes an event, and passes input on to the port.
    func handle(_ event: PollEvent, poller: borrowing Poller, machine: VirtualMachine) {
        backend.withLock { $0.handle(event, poller: poller) }
        guard event.readable, waiting.withLock({ $0.isEmpty }) else { return }
        var chunk = [UInt8](repeating: 0, count: 256)
        var count = 0
        var span = chunk.mutableSpan
        var untyped = span.untyped
        backend.withLock { backend in
            if case .bytes(let read) = backend.read(into: &untyped) { count = read }
        }
        waiting.withLock { $0 = Array(chunk.prefix(count)) }
        pass(to: machine)
    }

    /// Offers waiting input to the port.
    func pass(to machine: VirtualMachine) {
        waiting.withLock { waiting in
            guard !waiting.isEmpty else { return }
            let taken = machine.receiveSerial(waiting.span)
            waiting.removeFirst(min(max(taken, 0), waiting.count))
        }
    }

    /// Output that a slow reader has not taken yet gets a last chance to go out, for at most `milliseconds`.
    func drain(milliseconds: Int64) {
        let deadline = MonotonicTime.now + milliseconds
        guard let poller = try? Poller() else { return }
        beginWaiting(token: 0)
        while MonotonicTime.now < deadline, backend.withLock({ $0.hasOutput && $0.room != .max }) {
            guard (try? updateWaiting(poller)) != nil, (try? poller.wait(timeoutMilliseconds: 20) { _ in }) != nil else { return }
            backend.withLock { $0.flush() }
        }
    }
}
