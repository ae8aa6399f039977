import CLinux
import Host
import Logging
import Machine
import VirtualMachine

/// One life of a VM, from opening what its configuration names to its end.
struct VMSession: ~Copyable {
    private let machine: any MachineControl
    /// The machine, if it is in this process.
    private let local: LocalMachine?
    private let resources: VMResources
    private let vm: RunningVM
    private let shutdownTimeout: Int

    /// What the loop waits for, beside the serial port.
    private enum Token {
        static let end: UInt64 = 1
        static let signal: UInt64 = 2
        static let client: UInt64 = 5
        static let door: UInt64 = 6
        static let device: UInt64 = 7
        static let terminal: UInt64 = 16
    }

    /// How often it is looked whether the guest has read all input, in milliseconds.
    private static let endDelay: Int64 = 50

    /// Opens everything and starts the machine, which from then on is `vm`'s. `file` names the configuration in messages.
    init(
        _ configuration: VMConfiguration, file: String, origin: Planner.Origin, asleep: Bool, vm: RunningVM, log: LogSettings
    ) throws(VMError) {
        let planner = Planner(configuration, document: vm.configuration(), file: file, origin: origin, log: log)
        let kvm = try planner.checkHost()
        // Before everything else is opened, so that it starts meanwhile.
        let remote = configuration.isolation == .process ? try vm.startProcess(log: log) : nil
        let plan: Planner.Plan
        do throws(VMError) { plan = try planner.plan(kvm: kvm, asleep: asleep) } catch {
            remote?.kill()
            throw error
        }
        let resources = plan.resources
        vm.use(resources.keeper)
        do throws(VMError) {
            if let remote {
                (machine, local) = (try Self.start(remote, plan, asleep: asleep, complaint: vm.complaint), nil)
            } else {
                let made = try Self.start(plan, state: origin.state, complaint: vm.complaint)
                (machine, local) = (made, made)
            }
        } catch {
            resources.finish()
            vm.releaseKeeper()
            throw error
        }
        self.resources = resources
        self.vm = vm
        shutdownTimeout = configuration.shutdownTimeout
        vm.use(machine)
        resources.terminal?.onResize { [weak machine] in machine?.resizeConsole(to: $0) }
    }

    /// Starts the machine in its process.
    private static func start(
        _ machine: RemoteMachine, _ plan: consuming Planner.Plan, asleep: Bool,
        complaint: @escaping @Sendable (_ id: String, _ sentence: String) -> Void
    ) throws(VMError) -> RemoteMachine {
        let keeper = plan.resources.keeper
        do throws(VMError) {
            keeper.use(machine)
            try machine.assemble(plan.brief, plan.descriptors) { keeper.end(of: $0) }
            try keeper.begin(complaint: complaint)
            try machine.start(asleep: asleep)
            return machine
        } catch {
            keeper.noMoreRestarts()
            _ = machine.stop()
            throw error
        }
    }

    /// Starts the machine in this process.
    private static func start(
        _ plan: consuming Planner.Plan, state: PendingState?, complaint: @escaping @Sendable (_ id: String, _ sentence: String) -> Void
    ) throws(VMError) -> LocalMachine {
        let keeper = plan.resources.keeper
        let pageTables = try VMError.host("open its page tables") { () throws(SystemError) in try OwnedDescriptor.pageTables() }
        let assembly: MachineAssembly
        do {
            assembly = try MachineAssembly.make(plan.brief, plan.descriptors, state: state) { [weak keeper] in keeper?.noteLost($0) }
        } catch {
            throw error.error
        }
        keeper.use(FrontendTable(assembly.frontends) { [weak keeper] in keeper?.noteLost($0) })
        try keeper.begin(complaint: complaint)
        return try assembly.start(pageTables: pageTables)
    }

    /// How a session came to its end.
    struct Ending {
        let end: MachineEnd
        /// Somebody has asked the VM to end, so a guest that resets is not started again.
        let wasAsked: Bool
    }

    /// Waits until the machine ends.
    consuming func run(signals: borrowing SignalEvents, control: ControlStart) throws(VMError) -> Ending {
        let keeper = resources.keeper
        let wasAsked: Bool
        do {
            wasAsked = try loop(signals: signals, control: control)
        } catch {
            _ = abandon()
            throw VMError(.failure, "The machine's loop failed (\(error)).")
        }
        let end = abandon()
        if let failure = keeper.failureReason { throw failure }
        return Ending(end: end, wasAsked: wasAsked)
    }

    /// Ends the machine, and clears away what was made for it.
    consuming func abandon() -> MachineEnd {
        vm.release()
        resources.keeper.noMoreRestarts()
        let end = machine.stop()
        resources.finish()
        vm.releaseKeeper()
        return end
    }

    /// Waits until the machine has ended, or is to end at once; whether somebody has asked for its end. Who wants it at once has asked, too: the
    /// guest may reset at that very moment, and would be started again.
    private borrowing func loop(signals: borrowing SignalEvents, control: ControlStart) throws(SystemError) -> Bool {
        var forceAt: Int64?
        let poller = try Poller()
        try poller.add(machine.endEvent.rawValue, token: Token.end)
        try poller.add(signals.rawValue, token: Token.signal)
        try poller.add(vm.attention.rawValue, token: Token.client)
        try poller.add(resources.keeper.failure.rawValue, token: Token.device)
        if let doorbell = control.doorbell { try poller.add(doorbell, token: Token.door) }
        var serial = try local?.serialLoop(poller)
        while machine.endReason == nil {
            let port = try serial?.prepareToWait(poller)
            let terminalIsReady = resources.terminal?.updateWaiting(poller, token: Token.terminal) ?? false
            let now = MonotonicTime.now
            if let due = forceAt, now >= due { return true }
            // The end of a pipe is passed on when the guest has read what came before it, which nothing reports.
            let endAt = resources.terminal?.hasPendingEnd == true ? now + Self.endDelay : .max
            let next = min(port?.due ?? .max, forceAt ?? .max, endAt)
            let timeout: Int32? = port?.isReady == true || terminalIsReady ? 0 : next == .max ? nil : Int32(clamping: max(next - now, 0))
            var events: [PollEvent] = []
            try poller.wait(timeoutMilliseconds: timeout) { events.append($0) }
            for event in events {
                switch event.token {
                case Token.signal:
                    while let signal = signals.next() {
                        if try handle(signal, &forceAt) { return true }
                    }
                case Token.device: return forceAt != nil
                case Token.door:
                    if let doorbell = control.doorbell { try poller.remove(doorbell) }
                    control.open()
                case Token.client:
                    vm.attention.drain()
                    switch vm.takeEndRequest() {
                    case .force: return true
                    case .orderly: if beginShutdown(&forceAt) { return true }
                    case nil: break
                    }
                default: serial?.handle(event, poller)
                }
            }
            switch resources.terminal?.move() {
            case .quit: return true
            case .powerButton: machine.pressPowerButton()
            case nil: break
            }
        }
        return forceAt != nil
    }

    /// What a signal does; true ends the machine at once.
    private borrowing func handle(_ signal: Int32, _ forceAt: inout Int64?) throws(SystemError) -> Bool {
        switch signal {
        case SIGWINCH:
            resources.terminal?.windowChanged()
            return false
        case SIGTERM where forceAt == nil:
            return beginShutdown(&forceAt)
        default:
            // A second SIGTERM, Ctrl-C without a terminal of ours, or a closed terminal: nobody is left to wait for.
            return true
        }
    }

    /// Presses the power button, and notes when patience ends; true when there is nothing to wait for: a guest that sleeps obeys no button.
    private borrowing func beginShutdown(_ forceAt: inout Int64?) -> Bool {
        guard shutdownTimeout > 0, vm.noticesPowerButton(machine) else { return true }
        machine.pressPowerButton()
        forceAt = forceAt ?? MonotonicTime.now + Int64(shutdownTimeout) * 1000
        return false
    }
}
