public import ArgumentParser
public import Supervisor
public import VirtualMachine

/// `swvmm restore`.
struct RestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Continue a guest from a snapshot, and stay until it ends.",
        discussion: """
            The VM gets the disks, taps and consoles that it had, unless options say otherwise. Several VMs can be restored from one \
            snapshot; give each a '--name' and its own disks:

              swvmm restore /var/lib/snapshots/web --name web2 --disk root=/var/lib/disks/web2.img

            The snapshot must stay as long as a VM runs that was restored from it: RAM that the guest has not written is read from it.
            """)

    @Argument(help: ArgumentHelp("The snapshot's directory.", valueName: "dir"))
    var directory: String

    @Option(help: "The new VM's name; by default that of the snapshot.")
    var name: String?

    @Flag(help: "Stay asleep until 'swvmm wake'.")
    var asleep = false

    @Option(help: ArgumentHelp("Another image for a block device. Repeatable.", valueName: "id=path"))
    var disk: [String] = []

    @Option(help: ArgumentHelp("Another back-end for a network device: a tap's name, user, fd:N or stream:PATH.", valueName: "id=tap"))
    var net: [String] = []

    @Option(
        help: ArgumentHelp(
            "Another back-end for a console (or, with the id 'serial', for the serial port): stdio, pty, null, file:PATH or socket:PATH.",
            valueName: "id=backend"))
    var console: [String] = []

    @Option(help: "Where devices live: 'process' or 'none'; by default as in the snapshot.")
    var isolation: Isolation?

    @Option(help: "Where the snapshot is that this one lies on, when it has moved.")
    var base: String?

    @Flag(help: "Read all of RAM before the guest goes on.")
    var prefault = false

    @Flag(help: "Compare RAM with its digest first.")
    var verify = false

    @Option(help: "What the guest's clocks do: 'resume' where they were, or advance to 'realtime'.")
    var clock: ClockPolicy = .resume

    @OptionGroup var logging: LoggingOptions

    mutating func run() throws {
        var request = RestoreRequest(directory: directory)
        request.name = name
        request.asleep = asleep
        request.overrides = try overrides(.disk, disk) + overrides(.net, net) + overrides(.console, console)
        request.isolation = isolation
        request.base = base
        request.prefault = prefault
        request.verify = verify
        request.clock = clock
        let code = try VMRunner(.snapshot(request), log: logging.log).run()
        if code != .success { throw ArgumentParser.ExitCode(code.rawValue) }
    }

    private func overrides(_ kind: RestoreRequest.Override.Kind, _ texts: [String]) throws -> [RestoreRequest.Override] {
        try texts.map { text in
            guard let override = RestoreRequest.Override(kind, text) else {
                throw ValidationError("--\(kind.rawValue) \(text): expected the device's id, '=', and a value.")
            }
            return override
        }
    }
}

extension ClockPolicy: ExpressibleByArgument {}
extension Isolation: ExpressibleByArgument {}
