package import Host
import Schema
import Synchronization

/// A device's process, as its supervisor has it. It ends with this object.
package final class DeviceChild: Sendable {
    private let process: JailedProcess
    /// The end of a pipe whose other end stays open for as long as I/O of the process is under way.
    private let witness: OwnedDescriptor
    /// The answer to the last question about counters.
    private let answer = Mutex<[String: UInt64]>([:])
    /// Signalled when there is one.
    private let answered: EventFD

    /// How long a process may take to be ready, in milliseconds.
    private static let patience: Int64 = 10_000

    /// Starts the process of a device that `brief` describes. It inherits `socket`, on which front-ends come, and the device's descriptors.
    /// Call it on a thread that lives as long as the process shall.
    package init(
        _ brief: DeviceBrief, id: String, program: String, socket: borrowing OwnedDescriptor,
        _ descriptors: borrowing PassedDescriptors
    ) throws(VMError) {
        let pipe = try VMError.host("make a pipe") { () throws(SystemError) in try Pipe() }
        let file = try VMError.host("make a file for a device's process") { () throws(SystemError) in try brief.file() }
        var inherited = [
            InheritedDescriptor(socket.rawValue, as: DeviceBrief.Descriptor.socket),
            InheritedDescriptor(file.rawValue, as: DeviceBrief.Descriptor.brief),
            InheritedDescriptor(pipe.writer.rawValue, as: DeviceBrief.Descriptor.witness),
        ]
        for (index, raw) in descriptors.rawValues.enumerated() {
            inherited.append(InheritedDescriptor(raw, as: DeviceBrief.Descriptor.device + Int32(truncatingIfNeeded: index)))
        }
        process = try JailedProcess(
            program: program, arguments: ["swvmm", DeviceProcess.argument, id], purpose: "The process of device \"\(id)\"", inherited)
        witness = try VMError.host("keep a pipe") { () throws(SystemError) in try pipe.reader.duplicate() }
        answered = try VMError.host("make an event") { () throws(SystemError) in try EventFD() }
    }

    /// Its process id.
    var processID: Int32 { process.processID }
    /// Becomes readable when the process ends.
    var endDescriptor: Int32 { process.endDescriptor }
    /// Becomes readable when the process has said something: call `listen` then.
    var socketDescriptor: Int32 { process.socketDescriptor }

    /// Waits until the device is ready to serve, behind a closed jail.
    func waitUntilReady(id: String) throws(VMError) {
        let deadline = MonotonicTime.now + Self.patience
        do {
            let poller = try Poller()
            try poller.add(process.socketDescriptor, token: 0)
            while true {
                let left = deadline - MonotonicTime.now
                guard left > 0 else { throw VMError(.host, "Device \"\(id)\" was not ready in \(Self.patience / 1000) seconds.") }
                try poller.wait(timeoutMilliseconds: Int32(clamping: left)) { _ in }
                switch take() {
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

    /// Reads what the process has said.
    private func take(_ complaint: (String) -> Void = { _ in }) -> News {
        guard let messages = process.takeMessages() else { return .ended }
        var news = News.nothing
        for message in messages {
            if message["ready"] != nil { news = .ready }
            if case .string(let sentence)? = message["complaint"] { complaint(sentence) }
            guard case .object(let counters)? = message["counters"] else { continue }
            let counts: [String: UInt64] = counters.compactMapValues { value in
                if case .integer(let count) = value { UInt64(exactly: count) } else { nil }
            }
            answer.withLock { $0 = counts }
            answered.signal()
        }
        return news
    }

    /// Takes what the process has said; `complaint` is told what is wrong with the device. False when it will say no more.
    func listen(_ complaint: (String) -> Void) -> Bool { take(complaint) != .ended }

    /// What the device has counted; what it said last when it does not answer in `milliseconds`. Somebody has to `listen` meanwhile.
    func counters(within milliseconds: Int64) -> [String: UInt64] {
        answered.drain()
        if process.tell(["counters": true]) { _ = answered.wait(timeoutMilliseconds: milliseconds) }
        return answer.withLock { $0 }
    }

    /// Asks the process to end.
    func hangUp() { process.hangUp() }

    /// Kills the process, which cannot be trusted to end by itself.
    package func kill(hangs: Bool = false) { process.kill(hangs: hangs) }

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

    /// Ends the process, unless it has ended, and says how that was.
    func finish(afterMilliseconds grace: Int32) -> JailedProcess.End { process.finish(afterMilliseconds: grace) }
}
