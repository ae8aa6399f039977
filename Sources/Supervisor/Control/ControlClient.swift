import Host
public import Schema

/// Talks to the control socket of a running VM, for the command line. Every failure is one sentence.
public struct ControlClient: Sendable {
    /// The VM's name.
    public let name: String
    /// Its runtime directory.
    let directory: String
    private let pid: Int64?
    /// Milliseconds to connect, and to the first byte of a short answer; and between two looks whether a busy VM lives.
    private let patience: Int64

    /// Finds a running VM. Throws when there is none of this name, it has died, or is another user's.
    public init(name: String) throws(VMError) { try self.init(name: name, roots: .forThisProcess()) }

    init(name: String, roots: RuntimeRoots, patience: Int64 = 5000) throws(VMError) {
        try RuntimeRoots.check(name)
        let found = try roots.find(name)
        switch found.state {
        case .absent: throw VMError(.resource, "No VM named \"\(name)\" is running.")
        case .dead:
            throw VMError(
                .resource, "The VM \"\(name)\" has died; \(found.directory) is what it left, and the next of its name takes it over.")
        case .forbidden: throw VMError(.resource, "The VM \"\(name)\" belongs to another user.")
        case .running(let pid): self.pid = pid
        }
        self.name = name
        self.directory = found.directory
        self.patience = patience
    }

    /// The VM as messages call it.
    private var spoken: String { "The VM \"\(name)\"" + (pid.map { " (pid \($0))" } ?? "") }

    /// Whether the VM's process still holds its directory.
    public var isRunning: Bool {
        if case .running(let now)? = try? RuntimeState.of(directory) { return now == pid || pid == nil }
        return false
    }

    /// Asks for something that is known at once.
    public func get(_ path: String) throws(VMError) -> JSONValue {
        try exchange("GET", path, nil) { () throws(VMError) in throw late() }
    }

    /// Has something done, which may take as long as it takes: while it does, it is looked again and again whether the VM still answers.
    public func command(_ path: String, _ body: JSONValue? = nil) throws(VMError) -> JSONValue {
        try exchange("POST", path, body) { () throws(VMError) in
            guard isRunning else { throw broken() }
            // Any answer is a sign of life, also that there are too many connections.
            _ = try reply(to: "GET", "/v1/vm", nil) { () throws(VMError) in throw late() }
        }
    }

    /// Passes on event lines (without their line breaks) until the VM ends, or `body` returns false.
    public func events(_ body: (String) -> Bool) throws(VMError) {
        let connection = try open("GET", "/v1/events", nil)
        var reply = HTTPReply()
        var line: [UInt8] = []
        var hasBegun = false
        while !reply.isComplete {
            let isGoing = try step(connection, &reply, deadline: hasBegun ? nil : MonotonicTime.now + patience)
            if let status = reply.status, status != 200 {
                if reply.isComplete { throw refusal(status, reply.body) }
                continue
            }
            hasBegun = true
            for byte in reply.takeBody() {
                if byte != 0x0a {
                    line.append(byte)
                } else {
                    guard body(String(decoding: line, as: UTF8.self)) else { return }
                    line.removeAll(keepingCapacity: true)
                }
            }
            if !isGoing { throw late() }
        }
    }

    // MARK: One exchange

    private func exchange(
        _ method: String, _ path: String, _ body: JSONValue?, whenLate: () throws(VMError) -> Void
    ) throws(VMError) -> JSONValue {
        let reply = try reply(to: method, path, body, whenLate: whenLate)
        let status = reply.status ?? 0
        guard (200...299).contains(status) else { throw refusal(status, reply.body) }
        guard !reply.body.isEmpty else { return .null }
        do {
            return try JSONText.decode(reply.body)
        } catch {
            throw nonsense()
        }
    }

    /// A whole reply, whatever it says. When none has come in time, `whenLate` decides: it throws, or the wait goes on.
    private func reply(
        to method: String, _ path: String, _ body: JSONValue?, whenLate: () throws(VMError) -> Void
    ) throws(VMError) -> HTTPReply {
        let connection = try open(method, path, body)
        var reply = HTTPReply()
        while !reply.isComplete {
            let deadline = MonotonicTime.now + patience
            if try !step(connection, &reply, deadline: deadline) { try whenLate() }
        }
        return reply
    }

    private func open(_ method: String, _ path: String, _ body: JSONValue?) throws(VMError) -> ClientConnection {
        let deadline = MonotonicTime.now + patience
        let content = body.map { Array(JSONText.encode($0).utf8) } ?? []
        var head = "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if method == "POST" { head += "Content-Type: application/json\r\nContent-Length: \(content.count)\r\n" }
        do throws(ClientConnection.Failure) {
            let connection = try ClientConnection(path: RuntimeDirectory.socketPath(in: directory), deadline: deadline)
            try connection.send(Array("\(head)\r\n".utf8) + content, deadline: deadline)
            return connection
        } catch {
            throw explain(error)
        }
    }

    /// Takes what has come of a reply; false when the time is up.
    private func step(_ connection: borrowing ClientConnection, _ reply: inout HTTPReply, deadline: Int64?) throws(VMError) -> Bool {
        let bytes: [UInt8]
        do throws(ClientConnection.Failure) {
            bytes = try connection.receive(deadline: deadline)
        } catch {
            if case .late = error { return false }
            throw explain(error)
        }
        do throws(HTTPReply.Malformed) {
            try bytes.isEmpty ? reply.end() : reply.feed(bytes)
        } catch {
            throw bytes.isEmpty ? broken() : nonsense()
        }
        return true
    }

    // MARK: Sentences

    private func explain(_ failure: ClientConnection.Failure) -> VMError {
        switch failure {
        case .late: late()
        case .system(let error):
            switch error.errno {
            case .noEntry, .connectionRefused:
                isRunning ? VMError(.resource, "\(spoken) takes no commands: it starts, or ends.") : broken()
            case .accessDenied, .notPermitted: VMError(.resource, "The VM \"\(name)\" belongs to another user.")
            default: isRunning ? VMError(.resource, "\(spoken) cannot be reached (\(error)).") : broken()
            }
        }
    }

    private func late() -> VMError { VMError(.resource, "\(spoken) did not answer within \(patience / 1000) s.") }
    private func broken() -> VMError { VMError(.resource, "\(spoken) ended before it had answered.") }
    private func nonsense() -> VMError { VMError(.failure, "\(spoken) gave an answer that is none of swvmm's.") }

    /// The error in a reply's body, as the VM meant it.
    private func refusal(_ status: Int, _ body: [UInt8]) -> VMError {
        guard let error = (try? JSONText.decode(body))?.member("error"), case .string(let message)? = error.member("message"),
            case .integer(let number)? = error.member("code"), let code = ExitCode(rawValue: Int32(clamping: number)), code != .success
        else { return nonsense() }
        return VMError(code, message)
    }
}
