import CLinux
import Host
import Jail
import Schema
import Synchronization
import Virtqueue

/// A child in namespaces of its own that closes its jail and then talks to us on a socket: JSON objects, one a line. It ends with this object.
final class JailedProcess: Sendable {
    /// How a process ended, for a person.
    struct End: Sendable, Equatable {
        /// Nobody asked for it.
        let isFailure: Bool
        /// It did not answer, or did not end when it was asked to, and was killed.
        var hung = false
        /// One sentence, without the name of what the process was for.
        let sentence: String
    }

    private struct State: ~Copyable {
        var child: ChildProcess?
        var text: [UInt8] = []
        var violation: String?
        var error: String?
        var end: End?
    }

    /// The empty room of all processes that this one starts; nil where only each for itself can make namespaces.
    private static let room = HostFacts.isRoot ? try? JailRoom() : nil
    /// Where a process finds what it needs to enter it, if it is to; higher than what it inherits beside that.
    private static let door: Int32 = 60

    /// Where the process finds its end of the socket.
    static let control: Int32 = 3
    /// Its process id.
    let processID: Int32
    private let purpose: String
    /// Becomes readable when the process ends.
    let endDescriptor: Int32
    private let socket: OwnedDescriptor
    private let state: Mutex<State>
    /// What it was killed for: apart from the state, whose lock is held while its end is waited for.
    private let fault = Mutex<String?>(nil)

    /// Starts a program of ours. It inherits `descriptors`, standard error, and its end of the socket. `purpose` is what it is for, with which a
    /// sentence can begin. This does not wait until the program is executed: that it cannot be is how the process ends. Call it on a thread
    /// that lives as long as the process shall: a child ends with the thread that started it.
    init(program: String, arguments: [String], purpose: String, _ descriptors: [InheritedDescriptor]) throws(VMError) {
        let pair = try VMError.host("make a socket") { () throws(SystemError) in try SocketPair() }
        let nowhere = try VMError.host("open /dev/null") { () throws(SystemError) in try OwnedDescriptor.open("/dev/null", flags: O_RDWR) }
        var inherited = [
            InheritedDescriptor(nowhere.rawValue, as: 0), InheritedDescriptor(nowhere.rawValue, as: 1), InheritedDescriptor(2, as: 2),
            InheritedDescriptor(pair.second.rawValue, as: Self.control),
        ]
        inherited += descriptors
        let isOrdinary = !HostFacts.isRoot
        // A device that has more than anybody's gets namespaces of its own.
        let room = inherited.allSatisfy { $0.target < Self.door } ? Self.room : nil
        if let room { inherited += room.inherited(from: Self.door) }
        let child: ChildProcess
        do {
            child = try ChildProcess(
                path: program, arguments: arguments, environment: [], descriptors: inherited,
                namespaces: isOrdinary ? Namespaces.all.union(.users) : room == nil ? .all : .besideRoom, waits: false)
        } catch {
            let remedy =
                isOrdinary
                ? "; an ordinary user needs user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)" : ""
            throw VMError(.host, "\(purpose) cannot be started (\(error))\(remedy).")
        }
        self.purpose = purpose
        processID = child.processID
        endDescriptor = child.descriptor.rawValue
        socket = try VMError.host("keep a socket") { () throws(SystemError) in try pair.first.duplicate() }
        state = Mutex(State(child: child))
        try VMError.host("use a socket") { () throws(SystemError) in try socket.setNonBlocking() }
    }

    /// The way into the room that this process is to enter; nil when it has namespaces of its own.
    static var inheritedDoor: JailRoom.Door? { JailRoom.Door(inheritedFrom: door) }

    /// Becomes readable when the process has said something.
    var socketDescriptor: Int32 { socket.rawValue }

    /// The most reads at a time: a process that was taken over and never stops talking must not keep us from ending it.
    private static let mostReads = 64
    /// A process that says nothing sensible says nothing.
    private static let longestLine = 65536

    /// What the process has said since the last call, but for what only matters when it ends; nil instead when it has hung up.
    func takeMessages() -> [[String: JSONValue]]? {
        var messages: [[String: JSONValue]] = []
        for _ in 0..<Self.mostReads {
            // Under the lock, or two threads could mix up what they have read.
            let hasMore = state.withLock { state -> Bool? in
                let bytes: [UInt8]
                do throws(SystemError) { bytes = try socket.readSome(4096) } catch {
                    return error.errno == .wouldBlock ? false : nil
                }
                if bytes.isEmpty { return nil }
                state.text += bytes
                while let end = state.text.firstIndex(of: UInt8(ascii: "\n")) {
                    let line = Array(state.text[..<end])
                    state.text.removeFirst(end + 1)
                    guard case .object(let members)? = try? JSONText.decode(line) else { continue }
                    if case .string(let sentence)? = members["error"] {
                        state.error = sentence
                    } else if case .integer(let number)? = members["seccomp"], case .integer(let architecture)? = members["architecture"] {
                        state.violation = SystemCalls.name(of: Int(number), architecture: UInt32(truncatingIfNeeded: architecture))
                    } else {
                        messages.append(members)
                    }
                }
                if state.text.count > Self.longestLine { state.text = [] }
                return true
            }
            guard let hasMore else { return messages.isEmpty ? nil : messages }
            if !hasMore { break }
        }
        return messages
    }

    /// Tells the process something; false when it does not listen.
    func tell(_ message: JSONValue) -> Bool {
        let line = Array((JSONText.encode(message, compact: true) + "\n").utf8)
        return (try? socket.send(line.span.untyped)) == line.count
    }

    /// Asks the process to end.
    func hangUp() { socket.hangUp() }

    /// Kills the process, which cannot be trusted to end by itself; perhaps because it `hangs`.
    func kill(hangs: Bool = false) {
        if hangs { fault.withLock { $0 = $0 ?? "did not answer in time" } }
        state.withLock { state in
            switch state.child {
            case .some(let child): child.signal(SIGKILL)
            case .none: break
            }
        }
    }

    /// Ends the process, unless it has ended, and says how that was. It is asked by hanging up, and killed when it does not obey in time.
    func finish(afterMilliseconds grace: Int32) -> End {
        _ = takeMessages()
        socket.hangUp()
        return state.withLock { state in
            if let end = state.end { return end }
            var status: ExitStatus?
            if var child = state.child.take() {
                if let ended = try? child.wait(timeoutMilliseconds: grace) {
                    status = ended
                    if let failure = child.startFailure() { state.error = "\(purpose) cannot be started (\(failure))." }
                } else {
                    if grace > 0 { fault.withLock { $0 = $0 ?? "did not end in time" } }
                    guard let ended = child.terminate(graceMilliseconds: 0) else {
                        let sentence = "process \(processID) was killed, but the kernel still holds it."
                        state.end = End(isFailure: true, hung: true, sentence: sentence)
                        return End(isFailure: true, hung: true, sentence: sentence)
                    }
                    status = ended
                }
            }
            let end = Self.end(processID, status, violation: state.violation, error: state.error, fault: fault.withLock { $0 })
            state.end = end
            return end
        }
    }

    private static func end(_ processID: Int32, _ status: ExitStatus?, violation: String?, error: String?, fault: String?) -> End {
        if let violation {
            return End(isFailure: true, sentence: "process \(processID) made the system call \(violation), which its policy forbids.")
        }
        if let error { return End(isFailure: true, sentence: error) }
        switch status {
        case .killed(SIGKILL)? where fault != nil:
            return End(isFailure: true, hung: true, sentence: "process \(processID) \(fault ?? "") and was killed.")
        case .exited(0)?, nil: return End(isFailure: false, sentence: "process \(processID) has ended.")
        case let status?: return End(isFailure: true, sentence: "process \(processID) \(status).")
        }
    }
}
