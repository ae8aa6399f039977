import GuestMemory
import Host
import Logging
import Machine
import Schema
import Snapshot
import Synchronization
import VhostUser
import VirtualMachine

/// A machine in a jailed process of its own, as its supervisor has it.
///
/// The process is asked on three channels, and says by itself when the guest has come to its end, or when a device's process must not be left
/// running. One that does not answer in time is killed, which ends the VM: nobody can tell what it would still do.
final class RemoteMachine: MachineControl, DeviceHolder {
    /// What the process tells of by itself.
    struct Events: Sendable {
        /// The process of a device, or its back-end, cannot be talked to.
        let lost: @Sendable (LostBackEnd) -> Void
        /// A device has something to complain of.
        let complaint: @Sendable (_ id: String, _ sentence: String) -> Void
    }

    /// Where the process finds its ends of the channels.
    enum Descriptor {
        static let commands: Int32 = 4
        static let devices: Int32 = 5
        static let queries: Int32 = 6
        /// A policy other than the built-in one.
        static let policy: Int32 = 7
    }

    /// How long answers may take, in milliseconds: what waits for devices waits as long as those may.
    private enum Patience {
        static let query: Int64 = 10_000
        static let command: Int64 = 120_000
        static let device: Int64 = 60_000
        /// A new back-end's every answer may take as long as one may; a process shows progress for so long at most.
        static let recovery: Int64 = 180_000
        /// However many devices hang, the end comes.
        static let stop: Int64 = 150_000
        /// For each MiB that a restored machine may have to copy.
        static let perMebibyte: Int64 = 100
        /// For each MiB that is saved, at most: storage may be slow, and as long as it gets on, nobody shall be cut short.
        static let perSavedMebibyte: Int64 = 1000
    }

    private let process: JailedProcess
    private let commands: RequestChannel
    private let devices: RequestChannel
    private let queries: RequestChannel
    private let memorySize: UInt64
    let endEvent: EventFD
    private let reason = Mutex<MachineEnd?>(nil)
    private let shownPhase = Atomic(MachinePhase.created)
    private let watcher = Mutex<WorkerThread<Bool>?>(nil)
    private let fault: Fault

    /// Why the process could not be talked to any more: one sentence, the first one.
    private final class Fault: Sendable {
        let sentence = Mutex<String?>(nil)
    }

    /// Starts the process, which closes its jail meanwhile. Call it on the main thread: a child ends with the thread that started it.
    init(name: String, memorySize: UInt64, policies: PolicyFiles, log: LogSettings, events: Events) throws(VMError) {
        var pairs: [Int32: SocketPairSlot] = [:]
        for target in [Descriptor.commands, Descriptor.devices, Descriptor.queries] {
            pairs[target] = SocketPairSlot(try VMError.host("make a socket") { () throws(SystemError) in try SocketPair() })
        }
        var inherited = pairs.map { InheritedDescriptor($1.theirs, as: $0) }
        let policy = try policies.file(for: "vmm")?.take()
        switch policy {
        case .some(let file): inherited.append(InheritedDescriptor(file.rawValue, as: Descriptor.policy))
        case .none: break
        }
        let hasPolicy = inherited.count > pairs.count
        let options = MachineProcess.options(log, hasUserNamespace: !HostFacts.isRoot, hasPolicy: hasPolicy)
        let process = try JailedProcess(
            program: ProgramFile.running, arguments: ["swvmm", MachineProcess.argument, name] + options,
            purpose: "The process of the virtual machine", inherited)
        self.process = process
        let fault = Fault()
        func channel(_ target: Int32) throws(VMError) -> RequestChannel {
            guard let pair = pairs[target] else { throw VMError(.failure, "A channel is missing.") }
            return try VMError.host("keep a socket") { () throws(SystemError) in
                try RequestChannel(try pair.takeOurs()) { failure in
                    switch failure {
                    case .ended: break
                    case .late: fault.sentence.withLock { $0 = $0 ?? "process \(process.processID) did not answer in time." }
                    case .broken: fault.sentence.withLock { $0 = $0 ?? "process \(process.processID) gave an answer that is none." }
                    }
                    process.kill()
                }
            }
        }
        commands = try channel(Descriptor.commands)
        devices = try channel(Descriptor.devices)
        queries = try channel(Descriptor.queries)
        self.fault = fault
        self.memorySize = memorySize
        endEvent = try VMError.host("make an event") { () throws(SystemError) in try EventFD() }
        let watching = try VMError.host("start a thread") { () throws(SystemError) in
            try WorkerThread(name: "machine", state: true) { [weak self] _, stop in self?.watch(events, until: stop) }
        }
        watcher.withLock { $0 = watching }
    }

    // MARK: How it comes to life

    /// Hands over what the machine is made of. `ended` tells how the process of a device that could not be reached has ended.
    func assemble(
        _ brief: MachineBrief, _ descriptors: consuming PassedDescriptors, ended: (String) -> JailedProcess.End?
    ) throws(VMError) {
        while descriptors.count > 0 {
            var some = PassedDescriptors()
            while some.count < PassedDescriptors.most, let next = descriptors.takeFirst() { some.append(next) }
            _ = try command(.take, passing: some.rawValues)
        }
        let patience = Patience.command + Int64(clamping: memorySize >> 20) * Patience.perMebibyte
        switch commands.ask(MachineRequest.assemble(brief).json, within: patience) {
        case .done?: return
        case .refused(let error, let device?)?:
            guard let end = ended(device), end.isFailure else { throw error }
            throw VMError(error.code, "Device \"\(device)\" did not start: \(end.sentence)")
        case .refused(let error, nil)?: throw error
        case nil: throw failure
        }
    }

    /// Starts the machine that was assembled.
    func start(asleep: Bool) throws(VMError) {
        _ = try command(.start)
        shownPhase.store(asleep ? .asleep : .running, ordering: .releasing)
    }

    // MARK: MachineControl

    var phase: MachinePhase { shownPhase.load(ordering: .acquiring) }
    var endReason: MachineEnd? { reason.withLock { $0 } }

    var generationID: String? {
        guard case .done(.string(let text))? = queries.ask(MachineRequest.generation.json, within: Patience.query) else { return nil }
        return text
    }

    var deviceReport: [JSONValue] {
        guard case .done(.array(let report))? = queries.ask(MachineRequest.report.json, within: Patience.query) else { return [] }
        return report
    }

    func sleep() throws(VMError) -> Bool { try change(.sleep, to: .asleep) }

    func wake() throws(VMError) -> Bool { try change(.wake, to: .running) }

    private func change(_ request: MachineRequest, to phase: MachinePhase) throws(VMError) -> Bool {
        let isNew = try command(request) == .bool(true)
        if endReason == nil { shownPhase.store(phase, ordering: .releasing) }
        return isNew
    }

    func save(
        memory: borrowing OwnedDescriptor, state: borrowing OwnedDescriptor, base: SavedBase?, digest: Bool
    ) throws(VMError) -> SavedImage {
        // More files than fit into one message come before it.
        var files = base?.layers.map { $0.file.rawValue } ?? []
        while !files.isEmpty {
            let some = files.prefix(PassedDescriptors.most)
            _ = try command(.take, passing: Array(some))
            files.removeFirst(some.count)
        }
        let below = base.map { MachineRequest.Base(digest: $0.digest, layers: $0.layers.map { $0.extents }) }
        let most = Patience.command + Int64(clamping: memorySize >> 20) * Patience.perSavedMebibyte
        let answer = try command(.save(base: below, digest: digest), passing: [memory.rawValue, state.rawValue], atMost: most)
        do { return try SavedImage(SavedValue(answer)) } catch {
            throw VMError(.failure, "The virtual machine's process says nothing sensible of what it has saved (\(error)).")
        }
    }

    func noteSaved(as identity: String) { _ = try? command(.noteSaved(identity)) }

    func pressPowerButton() { queries.tell(MachineRequest.pressPowerButton.json) }

    func resizeConsole(to size: WindowSize) { queries.tell(MachineRequest.resizeConsole(size).json) }

    func stop() -> MachineEnd {
        let answer = queries.ask(MachineRequest.stop.json, within: Patience.query, atMost: Patience.stop)
        if case .done(let value)? = answer, let end = MachineEnd(value) { conclude(end) }
        shownPhase.store(.stopped, ordering: .releasing)
        process.hangUp()
        _ = watcher.withLock { $0.take() }?.stop()
        let end = process.finish(afterMilliseconds: 2000)
        return endReason ?? .failed(Self.sentence(fault.sentence.withLock { $0 } ?? end.sentence))
    }

    /// Ends a process that nothing was asked of yet.
    func kill() {
        process.kill()
        _ = watcher.withLock { $0.take() }?.stop()
        _ = process.finish(afterMilliseconds: 0)
    }

    // MARK: DeviceHolder

    func recover(_ id: String, turn: Int, _ socket: borrowing OwnedDescriptor) throws(VMError) {
        try result(
            devices.ask(
                MachineRequest.recover(id, turn: turn).json, passing: [socket.rawValue], within: Patience.device, atMost: Patience.recovery)
        )
    }

    func handOver(_ id: String, turn: Int, to socket: borrowing OwnedDescriptor) throws(VMError) {
        try result(devices.ask(MachineRequest.handOver(id, turn: turn).json, passing: [socket.rawValue], within: Patience.device))
    }

    func failure(of id: String) throws(VMError) -> String? {
        guard case .string(let text) = try result(devices.ask(MachineRequest.failure(id).json, within: Patience.device)) else { return nil }
        return text
    }

    func noteLeft(_ id: String) throws(VMError) -> VhostUserFrontend.Departure {
        let answer = try result(devices.ask(MachineRequest.noteLeft(id).json, within: Patience.device))
        do { return try VhostUserFrontend.Departure(SavedValue(answer)) } catch {
            throw VMError(.failure, "The virtual machine's process says nothing sensible of a back-end that has left (\(error)).")
        }
    }

    func giveUp(_ id: String) { _ = devices.ask(MachineRequest.giveUp(id).json, within: Patience.device) }

    // MARK: What is behind it

    @discardableResult
    private func command(
        _ request: MachineRequest, passing descriptors: [Int32] = [], atMost most: Int64? = nil
    ) throws(VMError) -> JSONValue {
        try result(commands.ask(request.json, passing: descriptors, within: Patience.command, atMost: most))
    }

    @discardableResult
    private func result(_ answer: RequestChannel.Answer?) throws(VMError) -> JSONValue {
        switch answer {
        case .done(let value)?: return value
        case .refused(let error, _)?: throw error
        case nil: throw failure
        }
    }

    /// Why there is no answer.
    private var failure: VMError {
        VMError(.failure, Self.sentence(fault.sentence.withLock { $0 } ?? process.finish(afterMilliseconds: 1000).sentence))
    }

    private static func sentence(_ what: String) -> String { "The virtual machine has failed: \(what)" }

    private func conclude(_ end: MachineEnd) {
        let isFirst = reason.withLock { reason in
            guard reason == nil else { return false }
            reason = end
            return true
        }
        if isFirst { endEvent.signal() }
    }

    /// Takes what the process says until it ends.
    private func watch(_ events: Events, until stop: EventFD) {
        guard let poller = try? Poller(), (try? poller.add(process.socketDescriptor, token: 0)) != nil,
            (try? poller.add(process.endDescriptor, token: 1)) != nil, (try? poller.add(stop.rawValue, token: 2)) != nil
        else { return conclude(.failed(Self.sentence("the host could not wait for its process."))) }
        var listens = true
        while true {
            var hasEnded = false
            var isStopped = false
            guard
                (try? poller.wait { event in
                    if event.token == 1 { hasEnded = true }
                    if event.token == 2 { isStopped = true }
                }) != nil
            else { return }
            if listens {
                let messages = process.takeMessages()
                for message in messages ?? [] { take(message, events) }
                if messages == nil {
                    listens = false
                    try? poller.remove(process.socketDescriptor)
                }
            }
            if isStopped { return }
            if hasEnded {
                let end = process.finish(afterMilliseconds: 0)
                return conclude(.failed(Self.sentence(fault.sentence.withLock { $0 } ?? end.sentence)))
            }
        }
    }

    private func take(_ message: [String: JSONValue], _ events: Events) {
        if let ended = message["ended"], let end = MachineEnd(ended) { conclude(end) }
        if let lost = message["lost"], let lost = try? LostBackEnd(SavedValue(lost)) { events.lost(lost) }
        if case .string(let id)? = message["device"], case .string(let sentence)? = message["complaint"] { events.complaint(id, sentence) }
    }
}

/// A pair of sockets, one of which goes to a child.
private final class SocketPairSlot {
    private let pair: SocketPair

    init(_ pair: consuming SocketPair) { self.pair = pair }

    var theirs: Int32 { pair.second.rawValue }

    func takeOurs() throws(SystemError) -> OwnedDescriptor { try pair.first.duplicate() }
}
