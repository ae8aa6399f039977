import CLinux
import Host
import Jail
import Schema
import Synchronization
import Virtqueue

/// A device's process, as its supervisor has it. It ends with this object.
final class DeviceChild: Sendable {
    /// How a device's process ended, for a person.
    struct End: Sendable, Equatable {
        /// Nobody asked for it.
        let isFailure: Bool
        /// One sentence, without the name of the device.
        let sentence: String
    }

    private struct State: ~Copyable {
        var child: ChildProcess?
        var text: [UInt8] = []
        var violation: String?
        var error: String?
        /// The answer to the last question about counters.
        var counters: [String: UInt64]?
    }

    /// Its process id.
    let processID: Int32
    /// Becomes readable when the process ends.
    let endDescriptor: Int32
    private let control: OwnedDescriptor
    /// The end of a pipe whose other end stays open for as long as I/O of the process is under way.
    private let witness: OwnedDescriptor
    private let state: Mutex<State>

    /// How long a process may take to be ready, in milliseconds.
    private static let patience: Int64 = 10_000

    /// Starts the process of a device that `brief` describes. It inherits `socket`, on which front-ends come, and the device's descriptors.
    /// Call it on the main thread: a child ends with the thread that started it.
    init(
        _ brief: DeviceBrief, id: String, program: String = ProgramFile.running, socket: borrowing OwnedDescriptor,
        _ descriptors: borrowing PassedDescriptors
    ) throws(VMError) {
        let pair = try VMError.host("make a socket") { () throws(SystemError) in try SocketPair() }
        let pipe = try VMError.host("make a pipe") { () throws(SystemError) in try Pipe() }
        let file = try VMError.host("make a file for a device's process") { () throws(SystemError) in try brief.file() }
        let nowhere = try VMError.host("open /dev/null") { () throws(SystemError) in try OwnedDescriptor.open("/dev/null", flags: O_RDWR) }
        var inherited = [
            InheritedDescriptor(nowhere.rawValue, as: 0), InheritedDescriptor(nowhere.rawValue, as: 1), InheritedDescriptor(2, as: 2),
            InheritedDescriptor(pair.second.rawValue, as: DeviceBrief.Descriptor.control),
            InheritedDescriptor(socket.rawValue, as: DeviceBrief.Descriptor.socket),
            InheritedDescriptor(file.rawValue, as: DeviceBrief.Descriptor.brief),
            InheritedDescriptor(pipe.writer.rawValue, as: DeviceBrief.Descriptor.witness),
        ]
        for (index, raw) in descriptors.rawValues.enumerated() {
            inherited.append(InheritedDescriptor(raw, as: DeviceBrief.Descriptor.device + Int32(truncatingIfNeeded: index)))
        }
        let namespaces: Namespaces = brief.hasUserNamespace ? Namespaces.all.union(.users) : .all
        let child: ChildProcess
        do {
            child = try ChildProcess(
                path: program, arguments: ["swvmm", DeviceProcess.argument, id], environment: [], descriptors: inherited,
                namespaces: namespaces)
        } catch {
            let remedy =
                brief.hasUserNamespace
                ? "; an ordinary user needs user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone)" : ""
            throw VMError(.host, "The process of device \"\(id)\" cannot be started (\(error))\(remedy).")
        }
        processID = child.processID
        endDescriptor = child.descriptor.rawValue
        control = try VMError.host("keep a socket") { () throws(SystemError) in try pair.first.duplicate() }
        witness = try VMError.host("keep a pipe") { () throws(SystemError) in try pipe.reader.duplicate() }
        state = Mutex(State(child: child))
        try VMError.host("use a socket") { () throws(SystemError) in try control.setNonBlocking() }
    }

    /// Waits until the device is ready to serve, behind a closed jail.
    func waitUntilReady(id: String) throws(VMError) {
        let deadline = MonotonicTime.now + Self.patience
        do {
            let poller = try Poller()
            try poller.add(control.rawValue, token: 0)
            while true {
                let left = deadline - MonotonicTime.now
                guard left > 0 else { throw VMError(.host, "Device \"\(id)\" was not ready in \(Self.patience / 1000) seconds.") }
                try poller.wait(timeoutMilliseconds: Int32(clamping: left)) { _ in }
                switch try take() {
                case .ready: return
                case .nothing: break
                case .ended: throw VMError(.host, "Device \"\(id)\" did not start: \(finish(afterMilliseconds: 1000).sentence)")
                }
            }
        } catch let error as VMError {
            throw error
        } catch {
            throw VMError(.host, "The host could not wait for device \"\(id)\" (\(error)).")
        }
    }

    private enum News {
        case ready
        case nothing
        case ended
    }

    /// The most reads at a time: a process that was taken over and never stops talking must not keep us from ending it.
    private static let mostReads = 64

    /// Reads what the process has said.
    private func take() throws(SystemError) -> News {
        for _ in 0..<Self.mostReads {
            let bytes: [UInt8]
            do throws(SystemError) { bytes = try control.readSome(4096) } catch {
                if error.errno == .wouldBlock { return .nothing }
                return .ended
            }
            if bytes.isEmpty { return .ended }
            let isReady = state.withLock { state in
                state.text += bytes
                var isReady = false
                while let end = state.text.firstIndex(of: UInt8(ascii: "\n")) {
                    let line = Array(state.text[..<end])
                    state.text.removeFirst(end + 1)
                    guard case .object(let members)? = try? JSONText.decode(line) else { continue }
                    if members["ready"] != nil { isReady = true }
                    if case .object(let counters)? = members["counters"] {
                        state.counters = counters.compactMapValues { value in
                            if case .integer(let count) = value { UInt64(exactly: count) } else { nil }
                        }
                    }
                    if case .string(let sentence)? = members["error"] { state.error = sentence }
                    if case .integer(let number)? = members["seccomp"], case .integer(let architecture)? = members["architecture"] {
                        state.violation = SystemCalls.name(of: Int(number), architecture: UInt32(truncatingIfNeeded: architecture))
                    }
                }
                // A process that says nothing sensible says nothing.
                if state.text.count > 65536 { state.text = [] }
                return isReady
            }
            if isReady { return .ready }
        }
        return .nothing
    }

    /// What the device has counted; what it said last when it does not answer in `milliseconds`.
    func counters(within milliseconds: Int64) -> [String: UInt64] {
        let before = state.withLock { state in
            defer { state.counters = nil }
            return state.counters
        }
        let question = Array("{\"counters\":true}\n".utf8)
        guard (try? control.send(question.span.untyped)) == question.count, let poller = try? Poller(),
            (try? poller.add(control.rawValue, token: 0)) != nil
        else { return before ?? [:] }
        let deadline = MonotonicTime.now + milliseconds
        while true {
            if let counters = state.withLock({ $0.counters }) { return counters }
            let left = deadline - MonotonicTime.now
            guard left > 0, (try? poller.wait(timeoutMilliseconds: Int32(clamping: left), { _ in })) != nil, let news = try? take(),
                news != .ended
            else { break }
        }
        state.withLock { $0.counters = $0.counters ?? before }
        return before ?? [:]
    }

    /// Asks the process to end.
    func hangUp() { control.hangUp() }

    /// Kills the process, which cannot be trusted to end by itself.
    func kill() {
        state.withLock { state in
            switch state.child {
            case .some(let child): child.signal(SIGKILL)
            case .none: break
            }
        }
    }

    /// Waits until none of the ended process's I/O is under way any more; false when that takes longer than `milliseconds`.
    func waitUntilSettled(milliseconds: Int64) -> Bool {
        guard let poller = try? Poller(), (try? poller.add(witness.rawValue, token: 0)) != nil else { return false }
        var hasEnded = false
        let deadline = MonotonicTime.now + milliseconds
        while !hasEnded {
            let left = deadline - MonotonicTime.now
            guard left > 0, (try? poller.wait(timeoutMilliseconds: Int32(clamping: left), { event in hasEnded = event.hungUp })) != nil
            else { return false }
        }
        return true
    }

    /// Ends the process, unless it has ended, and says how that was. It is asked by hanging up, and killed when it does not obey in time.
    func finish(afterMilliseconds grace: Int32) -> End {
        _ = try? take()
        control.hangUp()
        let status: ExitStatus? = state.withLock { state in
            guard var child = state.child.take() else { return nil }
            if let status = try? child.wait(timeoutMilliseconds: grace) { return status }
            return child.terminate(graceMilliseconds: 0)
        }
        _ = try? take()
        let (violation, error) = state.withLock { ($0.violation, $0.error) }
        if let violation {
            return End(isFailure: true, sentence: "process \(processID) made the system call \(violation), which its policy forbids.")
        }
        if let error { return End(isFailure: true, sentence: error) }
        switch status {
        case .exited(0)?, nil: return End(isFailure: false, sentence: "process \(processID) has ended.")
        case let status?: return End(isFailure: true, sentence: "process \(processID) \(status).")
        }
    }
}
