import Host
import Schema
import Synchronization
import VirtualMachine

/// Does what a supervisor asks of a machine: a thread for each channel, and the loop of the serial port on the one that calls `run`.
final class MachineServer: Sendable {
    /// The channels.
    struct Channels: Sendable {
        let commands: ServedChannel
        let devices: ServedChannel
        let queries: ServedChannel
    }

    private let control: ControlLine
    private let channels: Channels
    private let machine = Mutex<LocalMachine?>(nil)
    private let frontends = Mutex(FrontendTable([:]) { _ in })
    private let consoleSize: ConsoleSize
    /// What lives as long as the process.
    private let threads = Mutex<[any Sendable]>([])
    /// Signalled when there is a machine, when the serial port's loop is to end, and when it has.
    private let started: EventFD
    private let lastWords: EventFD
    private let silence: EventFD

    /// How often it is shown that a machine is about to stop: one a second, for as long as many hanging devices may take.
    private static let mostSigns = 120
    /// How long the serial port's loop may take to end, in milliseconds.
    private static let patience: Int64 = 5000

    init(_ control: ControlLine, _ channels: Channels) throws {
        self.control = control
        self.channels = channels
        consoleSize = try ConsoleSize()
        started = try EventFD()
        lastWords = try EventFD()
        silence = try EventFD()
    }

    /// Runs until the supervisor hangs up, which ends the process.
    func run(pageTables: consuming OwnedDescriptor) throws -> Never {
        let line = try control.listen(onRequest: { _ in }, onEnd: { leave(with: ExitCode.success.rawValue) })
        let threads: [any Sendable] = [
            line,
            try WorkerThread(name: "devices", state: true) { [self] _, _ in
                channels.devices.serve { (request, descriptors) throws(MachineAssembly.Failure) in
                    try deviceRequest(request, &descriptors)
                }
            },
            try WorkerThread(name: "queries", state: true) { [self] _, _ in
                channels.queries.serve { (request, _) throws(MachineAssembly.Failure) in try query(request) }
            },
            try WorkerThread(name: "size", state: true) { [self] _, _ in
                consoleSize.follow { [self] size in machine.withLock { $0 }?.resizeConsole(to: size) }
            },
        ]
        let commands = MachineCommands(self, channels.commands, pageTables)
        let commander = try WorkerThread(name: "commands", state: commands) { [self] state, _ in
            channels.commands.serve { (request, descriptors) throws(MachineAssembly.Failure) in try state.carryOut(request, &descriptors) }
        }
        self.threads.withLock { $0 = threads + [commander] }
        _ = started.wait()
        if let machine = machine.withLock({ $0 }) { try loop(machine) }
        // The supervisor has the last word.
        while true { _ = lastWords.wait() }
    }

    /// A device's process, or its back-end, cannot be talked to.
    func report(_ lost: LostBackEnd) { control.send(["lost": lost.json]) }

    /// The devices are there.
    func use(_ frontends: FrontendTable) { self.frontends.withLock { $0 = frontends } }

    /// The machine runs.
    func use(_ machine: LocalMachine) {
        self.machine.withLock { $0 = machine }
        started.signal()
    }

    /// The machine, as soon as there is one.
    func running() throws(MachineAssembly.Failure) -> LocalMachine {
        guard let machine = machine.withLock({ $0 }) else {
            throw MachineAssembly.Failure(VMError(.failure, "The virtual machine has not been started."))
        }
        return machine
    }

    private func query(_ request: MachineRequest) throws(MachineAssembly.Failure) -> JSONValue? {
        switch request {
        case .report: return .array(try running().deviceReport)
        case .generation: return try running().generationID.map { .string($0) } ?? .null
        case .stop:
            let machine = try running()
            // Devices that hang get their time, one after the other. Meanwhile it shows that this process does not.
            let end = Self.showingProgress(on: channels.queries) { machine.halt() }
            lastWords.signal()
            _ = silence.wait(timeoutMilliseconds: Self.patience)
            return end.json
        case .pressPowerButton:
            machine.withLock { $0 }?.pressPowerButton()
            return nil
        case .resizeConsole(let size):
            consoleSize.change(to: size)
            return nil
        default: throw MachineAssembly.Failure(.misplaced)
        }
    }

    /// Does something that takes its time, and shows meanwhile that this process does not hang.
    private static func showingProgress<Result, Failure: Error>(
        on channel: ServedChannel, _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let signs = try? WorkerThread(name: "signs", state: Self.mostSigns) { left, stop in
            while left > 0, !stop.waitWithoutDraining(milliseconds: ServedChannel.interval) {
                channel.showProgress()
                left -= 1
            }
        }
        defer { _ = signs?.stop() }
        return try body()
    }

    private func deviceRequest(
        _ request: MachineRequest, _ descriptors: inout PassedDescriptors
    ) throws(MachineAssembly.Failure) -> JSONValue? {
        do throws(VMError) {
            let frontends = frontends.withLock { $0 }
            switch request {
            case .recover(let id, let turn):
                let socket = try Self.socket(&descriptors)
                // A back-end of somebody else's may take its time for every single answer.
                try Self.showingProgress(on: channels.devices) { () throws(VMError) in try frontends.recover(id, turn: turn, socket) }
            case .handOver(let id, let turn): try frontends.handOver(id, turn: turn, to: try Self.socket(&descriptors))
            case .giveUp(let id): frontends.giveUp(id)
            case .failure(let id): return try frontends.failure(of: id).map { .string($0) } ?? .null
            case .noteLeft(let id): return try frontends.noteLeft(id).json
            default: throw .misplaced
            }
        } catch {
            throw MachineAssembly.Failure(error)
        }
        return true
    }

    private static func socket(_ descriptors: inout PassedDescriptors) throws(VMError) -> OwnedDescriptor {
        guard let socket = descriptors.takeFirst() else { throw VMError(.failure, "No socket came with the request.") }
        return socket
    }

    /// The serial port, and the guest's end, until somebody stops the machine.
    private func loop(_ machine: LocalMachine) throws {
        let poller = try Poller()
        try poller.add(machine.endEvent.rawValue, token: 1)
        try poller.add(lastWords.rawValue, token: 2)
        var serial = try machine.serialLoop(poller)
        var isOver = false
        while !isOver {
            let (isReady, due) = try serial.prepareToWait(poller)
            let timeout: Int32? = isReady ? 0 : due.map { Int32(clamping: max($0 - MonotonicTime.now, 0)) }
            var events: [PollEvent] = []
            try poller.wait(timeoutMilliseconds: timeout) { events.append($0) }
            for event in events {
                switch event.token {
                case 1:
                    try poller.remove(machine.endEvent.rawValue)
                    if let end = machine.endReason { control.send(["ended": end.json]) }
                case 2: isOver = true
                default: serial.handle(event, poller)
                }
            }
        }
        machine.drainSerial()
        silence.signal()
    }
}

extension VMError {
    /// A request that came on a channel of others.
    static var misplaced: VMError { VMError(.failure, "The request came on the wrong channel.") }
}

/// The size of a console's terminal on its way to the console, whose process may take its time.
private final class ConsoleSize: Sendable {
    private let wanted = Mutex<WindowSize?>(nil)
    private let news: EventFD

    init() throws(SystemError) { news = try EventFD() }

    func change(to size: WindowSize) {
        wanted.withLock { $0 = size }
        news.signal()
    }

    /// Calls `body` with every new size, for ever.
    func follow(_ body: (WindowSize) -> Void) {
        while news.wait() {
            let size = wanted.withLock { $0.take() }
            if let size { body(size) }
        }
    }
}
