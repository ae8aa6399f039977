import CLinux
import Host
import Hypervisor
import Jail
import Logging
import Schema

/// The inside of a machine's process: closes the jail, takes what the machine is made of, runs it, and does what its supervisor asks.
public enum MachineProcess {
    /// The first argument of a program that is started as a machine's process.
    public static let argument = "machine-process"

    /// What such a program is told before its jail is closed: after the first argument and the VM's name.
    static func options(_ log: LogSettings, hasUserNamespace: Bool, hasPolicy: Bool) -> [String] {
        [log.level.rawValue, log.format.rawValue, hasUserNamespace ? "user" : "root", hasPolicy ? "own" : "standard"]
    }

    /// A policy that the supervisor has read from a file of the user's.
    private static func inheritedFilter() throws -> SystemCallFilter {
        let file = try OwnedDescriptor.adopting(inherited: RemoteMachine.Descriptor.policy)
        let text = String(decoding: try file.readWhole(limit: mostPolicy), as: UTF8.self)
        return try SystemCallFilter(try Policy(text, name: "policy"))
    }

    /// More than any policy has, in bytes.
    private static let mostPolicy = 4 << 20

    /// The most descriptors that it may have open: MSI-X takes two for each queue, and a restored machine has the files of its RAM.
    private static let mostDescriptors: UInt64 = 8192

    /// Runs until the supervisor hangs up. `arguments` are those behind the first.
    public static func run(_ arguments: [String]) -> Never {
        let control: ControlLine
        do { control = try ControlLine(inherited: JailedProcess.control) } catch { leave(with: ExitCode.failure.rawValue) }
        do {
            try serve(control, arguments)
        } catch {
            control.send(["error": .string("\(error)")])
            leave(with: ExitCode.failure.rawValue)
        }
    }

    private static func serve(_ control: ControlLine, _ arguments: [String]) throws -> Never {
        guard arguments.count == 5, let level = LogLevel(rawValue: arguments[1]), let format = LogFormat(rawValue: arguments[2]) else {
            throw VMError(.usage, "The machine's process was started with arguments that nobody knows.")
        }
        let log = LogSettings(level: level, format: format)
        LoggingSystem.bootstrap { label in
            log.makeHandler(label: label) { control.offer(["device": .string($0), "complaint": .string($1)]) }
        }
        ignoreBrokenPipes()
        makeRoomForDescriptors(512)
        let channels = MachineServer.Channels(
            commands: try ServedChannel(inherited: RemoteMachine.Descriptor.commands),
            devices: try ServedChannel(inherited: RemoteMachine.Descriptor.devices),
            queries: try ServedChannel(inherited: RemoteMachine.Descriptor.queries))
        // What cannot be had later.
        let pageTables = try OwnedDescriptor.pageTables()
        prepareProcessForVirtualCPUs()
        guard let filter = try arguments[4] == "own" ? inheritedFilter() : SystemCallFilter.builtIn("vmm") else {
            throw VMError(.failure, "There is no policy for a machine.")
        }
        var jail = ProcessJail.Settings(filter: filter, report: JailedProcess.control)
        jail.room = JailedProcess.inheritedDoor
        jail.descriptorLimit = min(mostDescriptors, HostFacts.descriptorLimit)
        try ProcessJail.close(jail, inUserNamespace: arguments[3] == "user")
        // The first byte that anybody but the supervisor could have written is read after this.
        try MachineServer(control, channels).run(pageTables: pageTables)
    }
}
