import Glibc
import Host
import Virtqueue

/// A connection to a program that answers on a Unix socket. It knows no protocol: a request is a text, and so is the sign of its answer.
private final class Connection {
    private let socket: OwnedDescriptor

    init(_ path: String) throws(BenchError) {
        do { socket = try UnixSocket.connect(to: path) } catch { throw BenchError("\(path): \(error)") }
    }

    /// Sends a request, waits at most two minutes for its answer, and returns the milliseconds between.
    func ask(_ request: String, until answer: String) throws(BenchError) -> Double {
        let wanted = Array(answer.utf8)
        var seen: [UInt8] = []
        do throws(SystemError) {
            let poller = try Poller()
            try poller.add(socket.rawValue, token: 0)
            let deadline = MonotonicTime.now + 120_000
            let clock = SuspendingClock()
            let start = clock.now
            _ = try socket.send(Array(request.utf8).span.untyped)
            while MonotonicTime.now < deadline {
                guard try poller.wait(timeoutMilliseconds: 1000, { _ in }) > 0 else { continue }
                let bytes = try socket.readSome(4096)
                if bytes.isEmpty { break }
                seen += bytes
                if seen.firstRange(of: wanted) != nil { return Launch.milliseconds(clock.now - start) }
            }
        } catch {
            throw BenchError("\(request): \(error)")
        }
        throw BenchError("\(request): no answer with \(answer), but \(String(decoding: seen, as: UTF8.self))")
    }
}

/// Sends the requests in their order, again and again; the first time does not count.
func measureTalk(_ options: Options) throws(BenchError) {
    var connections: [String: Connection] = [:]
    var samples: [String: [Double]] = [:]
    for subject in options.subjects {
        guard subject.command.count == 3 else { throw BenchError("a request is a socket, a text and its answer\n\n\(Bench.usage)") }
    }
    for run in 0...options.runs {
        for subject in options.subjects {
            let path = subject.command[0]
            if options.pause > 0 { _ = usleep(UInt32(clamping: options.pause * 1000)) }
            let connection: Connection
            if let known = connections[path] { connection = known } else { connection = try Connection(path) }
            connections[path] = connection
            let time = try connection.ask(subject.command[1], until: subject.command[2])
            if run > 0 { samples[subject.name, default: []].append(time) }
        }
    }
    for subject in options.subjects {
        let (figure, name) = figureAndName(subject)
        if figure != "-" { printSamples(figure, name, samples[subject.name] ?? []) }
    }
}
