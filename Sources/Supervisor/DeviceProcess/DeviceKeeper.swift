import Host
import Logging
import Synchronization

/// Watches the processes of a VM's devices: says how they ended, and starts them again.
///
/// It has a thread, which lives as long as any process that it has started: a child ends with the thread that started it.
final class DeviceKeeper: Sendable {
    private let settings: CrashSettings
    private let members: [KeptDevice]
    /// Back-ends that are somebody else's.
    private let peers: [ForeignBackEnd]
    private let isEnding = Atomic(false)
    private let thread = Mutex<WorkerThread<Bool>?>(nil)
    /// Signalled when the VM has to end because of a device.
    let failure: EventFD
    private let reason = Mutex<VMError?>(nil)
    /// Upgrades that wait for the thread: only it may start processes.
    private let upgrades = Mutex<[Upgrade]>([])
    private let wanted: EventFD
    /// The processes of whose end somebody was told.
    private let reported = Mutex<Set<Int32>>([])

    /// Somebody waits for another process.
    private final class Upgrade: Sendable {
        let member: KeptDevice
        let program: String
        let done: EventFD
        let failure = Mutex<VMError?>(nil)

        init(_ member: KeptDevice, _ program: String) throws(SystemError) {
            (self.member, self.program) = (member, program)
            done = try EventFD()
        }
    }

    init(_ members: [KeptDevice], peers: [ForeignBackEnd], _ settings: CrashSettings) throws(VMError) {
        self.members = members
        self.peers = peers
        self.settings = settings
        failure = try VMError.host("make an event") { () throws(SystemError) in try EventFD() }
        wanted = try VMError.host("make an event") { () throws(SystemError) in try EventFD() }
    }

    /// Has the process of a device replaced by one of the program that is installed now; the new one's id.
    func upgrade(_ id: String) throws(VMError) -> Int32 {
        guard let member = members.first(where: { $0.id == id }) else {
            throw VMError(.usage, "\(id): expected the id of a device that has a process of its own.")
        }
        let program = try ProgramFile.installed()
        let upgrade = try VMError.host("make an event") { () throws(SystemError) in try Upgrade(member, program) }
        upgrades.withLock { $0.append(upgrade) }
        wanted.signal()
        guard upgrade.done.wait(timeoutMilliseconds: 60_000) else {
            throw VMError(.failure, "Device \"\(id)\" was not upgraded within a minute.")
        }
        if let failure = upgrade.failure.withLock({ $0 }) { throw failure }
        return member.process?.processID ?? 0
    }

    /// Why the VM has to end; nil when it has not.
    var failureReason: VMError? { reason.withLock { $0 } }

    /// From now on ends are noticed, and `complaint` learns what is wrong with a device. Until then whoever talks to a process sees that it does
    /// not answer.
    func begin(complaint: @escaping @Sendable (_ id: String, _ sentence: String) -> Void) throws(VMError) {
        for peer in peers { try peer.begin { [weak self] in self?.fail($0) } }
        guard !members.isEmpty else { return }
        let made = try VMError.host("start a thread") { () throws(SystemError) in
            try WorkerThread(name: "keeper", state: true) { [weak self] _, stop in self?.watch(until: stop, complaint) }
        }
        thread.withLock { $0 = made }
    }

    /// From now on this machine is told of other processes.
    func use(_ machine: any DeviceHolder) {
        for member in members { member.use(machine) }
        for peer in peers { peer.use(machine) }
    }

    /// What serves a device does not answer as it should: a process of ours is ended.
    func noteLost(_ lost: LostBackEnd) {
        members.first { $0.id == lost.id }?.kill(turn: lost.turn, hangs: lost.hangs)
        peers.first { $0.id == lost.id }?.suspect()
    }

    /// How the process of a device has ended, or does so now: asked when a device did not start.
    func end(of id: String) -> JailedProcess.End? {
        guard let process = members.first(where: { $0.id == id })?.process else { return nil }
        reported.withLock { _ = $0.insert(process.processID) }
        return process.finish(afterMilliseconds: 1000)
    }

    /// What the processes' devices have counted, by the devices' ids.
    func counters(of id: String) -> [String: UInt64] { members.first { $0.id == id }?.counters ?? [:] }

    /// No process is started again: the VM is about to end.
    func noMoreRestarts() {
        isEnding.store(true, ordering: .releasing)
        for peer in peers { peer.noMoreRestarts() }
    }

    /// Ends all processes.
    func stop() {
        noMoreRestarts()
        // One after the other, but all are asked first.
        for member in members { member.hangUp() }
        for peer in peers { peer.stop() }
        for member in members { finish(member) }
        _ = thread.withLock { $0.take() }?.stop()
        // In case one was started again just then.
        for member in members { member.finish(afterMilliseconds: 0) }
    }

    /// Ends the process of a device, which gets a while to do so by itself.
    private func finish(_ member: KeptDevice) {
        guard let process = member.process else { return }
        report(process.finish(afterMilliseconds: 2000), of: process, member)
    }

    /// Says once that a process had to be killed for the VM to end. How others end then is of no interest.
    private func report(_ end: JailedProcess.End, of process: DeviceChild, _ member: KeptDevice) {
        let isNew = reported.withLock { $0.insert(process.processID).inserted }
        guard end.hung, isNew else { return }
        Logger(label: "swvmm.\(member.id)").warning("device \"\(member.id)\": \(end.sentence)")
    }

    /// The others are the members' numbers, and these with a bit more for what their processes say.
    private enum Token {
        static let said: UInt64 = 1 << 32
        static let stop = UInt64.max
        static let upgrade = UInt64.max - 1
    }

    private func watch(until stop: EventFD, _ complaint: (String, String) -> Void) {
        var ended: Set<Int> = []
        /// Processes that have hung up but not ended: there is nothing to hear.
        var silent: Set<Int32> = []
        while true {
            guard let poller = try? Poller(), (try? poller.add(stop.rawValue, token: Token.stop)) != nil,
                (try? poller.add(wanted.rawValue, token: Token.upgrade)) != nil
            else { return }
            for (index, member) in members.enumerated() where !ended.contains(index) {
                guard let process = member.process else { continue }
                try? poller.add(process.endDescriptor, token: UInt64(index))
                if !silent.contains(process.processID) { try? poller.add(process.socketDescriptor, token: UInt64(index) | Token.said) }
            }
            var isStopped = false
            var isWanted = false
            var gone: [Int] = []
            var talking: [Int] = []
            guard
                (try? poller.wait { event in
                    switch event.token {
                    case Token.stop: isStopped = true
                    case Token.upgrade: isWanted = true
                    case Token.said...: talking.append(Int(truncatingIfNeeded: event.token & ~Token.said))
                    default: gone.append(Int(truncatingIfNeeded: event.token))
                    }
                }) != nil
            else { return }
            if isStopped { return }
            for index in talking where members.indices.contains(index) {
                let member = members[index]
                if let process = member.process, !process.listen({ complaint(member.id, $0) }) { silent.insert(process.processID) }
            }
            if isWanted { upgradeAll() }
            for index in gone where members.indices.contains(index) {
                if !handle(members[index]) { ended.insert(index) }
            }
        }
    }

    /// The VM has to end.
    private func fail(_ error: VMError) {
        reason.withLock { $0 = $0 ?? error }
        failure.signal()
    }

    private func upgradeAll() {
        wanted.drain()
        let waiting = upgrades.withLock { upgrades in
            defer { upgrades = [] }
            return upgrades
        }
        for upgrade in waiting {
            do throws(VMError) { try upgrade.member.upgrade(to: upgrade.program) } catch { upgrade.failure.withLock { $0 = error } }
            upgrade.done.signal()
        }
    }

    /// A process has ended; whether another one has taken its place.
    private func handle(_ member: KeptDevice) -> Bool {
        guard let process = member.process else { return false }
        let end = process.finish(afterMilliseconds: 0)
        let logger = Logger(label: "swvmm.\(member.id)")
        if isEnding.load(ordering: .acquiring) {
            report(end, of: process, member)
            member.giveUp()
            return false
        }
        reported.withLock { _ = $0.insert(process.processID) }
        switch settings.policy {
        case .restart:
            guard member.mayRestart(settings.maxRestarts) else {
                logger.error("device \"\(member.id)\": \(end.sentence) That was once too often within a minute: the device fails")
                break
            }
            guard process.waitUntilSettled(milliseconds: KeptDevice.settling) else {
                logger.error("device \"\(member.id)\": \(end.sentence) Its I/O does not come to an end: the device fails")
                break
            }
            do throws(VMError) {
                try member.restart()
                logger.warning("device \"\(member.id)\": \(end.sentence) It was started again as process \(member.process?.processID ?? 0)")
                return true
            } catch {
                logger.error("device \"\(member.id)\": \(end.sentence) \(error.message)")
                // If that was the new process's doing, it comes by here again.
                if member.process !== process { return true }
            }
        case .stop: fail(VMError(.failure, "Device \"\(member.id)\" has failed: \(end.sentence)"))
        case .failDevice: logger.error("device \"\(member.id)\": \(end.sentence) The device fails")
        }
        member.giveUp()
        return false
    }
}
