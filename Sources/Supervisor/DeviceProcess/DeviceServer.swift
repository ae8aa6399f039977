import CLinux
import Devices
import Host
import Logging
import Schema

/// `swvmm device`: one device for the vhost-user front-ends of others, or for the host's kernel.
public struct DeviceServer: Sendable {
    /// Where front-ends come from.
    public enum Door: Sendable {
        /// A Unix socket that is made there; one front-end after the other.
        case path(String)
        /// A descriptor that was inherited: a listening socket, or one that is connected already.
        case descriptor(Int32)
        /// The host's kernel, to which the device is offered under this name (VDUSE).
        case vduse(String)
    }

    private let arguments: DeviceArguments
    private let door: Door
    private let log: LogSettings

    /// Will serve a device.
    public init(_ arguments: DeviceArguments, door: Door, log: LogSettings) {
        self.arguments = arguments
        self.door = door
        self.log = log
    }

    private enum Token {
        static let signal: UInt64 = 1
        static let done: UInt64 = 2
    }

    /// Serves until SIGTERM, SIGINT or SIGHUP, or until the only front-end that can come has left. The device lives in a jailed process of its
    /// own; this one has opened what it needs and removes it in the end.
    public func run() throws(VMError) {
        let log = log
        LoggingSystem.bootstrap { log.makeHandler(label: $0) }
        let (settings, document) = try arguments.settings()
        ignoreBrokenPipes()
        let signals = try VMError.host("block signals") { () throws(SystemError) in try SignalEvents([SIGTERM, SIGINT, SIGHUP]) }
        var planner = DevicePlanner(vmName: settings.id, log: log)
        let descriptors: PassedDescriptors
        do { descriptors = try planner.open(settings, key: "", terminal: nil) } catch {
            throw VMError(error.code, error.message.hasPrefix(".") ? String(error.message.dropFirst()) : error.message)
        }
        let made = planner
        defer { made.clearAway() }
        if case .vduse(let name) = door {
            var vduse = try VDUSEDoor.open(name, settings, descriptors)
            let node = Slot(try vduse.takeNode())
            do throws(VMError) { try serve(settings, document, node, descriptors, signals) {} } catch {
                try? vduse.close()
                throw error
            }
            return try vduse.close()
        }
        let socket = try open()
        let name = try name(of: socket)
        defer { name?.remove() }
        // A successor need not wait until the device has come to rest.
        try serve(settings, document, Slot(socket), descriptors, signals) { name?.remove() }
    }

    /// What there is to remove of our door.
    private func name(of socket: borrowing OwnedDescriptor) throws(VMError) -> NamedSocket? {
        guard case .path(let path) = door else { return nil }
        return try VMError.host("keep a socket") { () throws(SystemError) in try NamedSocket(AbsolutePath.of(path), socket) }
    }

    /// Starts the device's process with what it is to serve on, and waits for the end of either. `asked` is called when that is not the process's.
    private func serve(
        _ settings: DeviceSettings, _ document: JSONValue, _ socket: Slot<OwnedDescriptor>, _ descriptors: borrowing PassedDescriptors,
        _ signals: borrowing SignalEvents, asked: () -> Void
    ) throws(VMError) {
        var isVDUSE = false
        if case .vduse = door { isVDUSE = true }
        let brief = DeviceBrief(
            document, vmName: settings.id, hasUserNamespace: !HostFacts.isRoot, isOwn: false, isVDUSE: isVDUSE, log: log)
        let child = try start(brief, settings, socket, descriptors)
        Logger(label: "swvmm").info("device \"\(settings.id)\" is served by process \(child.processID)")
        let wasAsked = try wait(for: child, signals)
        if wasAsked { asked() }
        let end = child.finish(afterMilliseconds: wasAsked ? 2000 : 0)
        guard !wasAsked, end.isFailure else { return }
        throw VMError(.failure, "Device \"\(settings.id)\" has failed: \(end.sentence)")
    }

    private func start(
        _ brief: DeviceBrief, _ settings: DeviceSettings, _ socket: Slot<OwnedDescriptor>, _ descriptors: borrowing PassedDescriptors
    ) throws(VMError) -> DeviceChild {
        // Our copy is closed with this: a node of VDUSE is to be open in one process.
        guard let socket = socket.take() else { throw VMError(.failure, "There is nothing to serve on.") }
        let child = try DeviceChild(brief, id: settings.id, program: ProgramFile.running, socket: socket, descriptors)
        try child.waitUntilReady(id: settings.id)
        return child
    }

    /// Waits until somebody wants the end, or the process has ended by itself.
    private func wait(for child: DeviceChild, _ signals: borrowing SignalEvents) throws(VMError) -> Bool {
        try VMError.host("wait for a device") { () throws(SystemError) in
            let poller = try Poller()
            try poller.add(signals.rawValue, token: Token.signal)
            try poller.add(child.endDescriptor, token: Token.done)
            var isDone = false
            var wasAsked = false
            while !isDone, !wasAsked {
                try poller.wait { event in
                    if event.token == Token.done { isDone = true } else { wasAsked = signals.next() != nil }
                }
            }
            return wasAsked
        }
    }

    private func open() throws(VMError) -> OwnedDescriptor {
        switch door {
        case .vduse: throw VMError(.failure, "The kernel has no socket.")
        case .path(let path):
            do { return try listenTakingOver(AbsolutePath.of(path)) } catch {
                throw VMError(
                    .resource, "\(path): \(error.errno); expected a path of at most 107 bytes where a Unix socket can be made.")
            }
        case .descriptor(let raw):
            do throws(SystemError) {
                let descriptor = try OwnedDescriptor.duplicating(inherited: raw)
                guard descriptor.isSocket() else { throw SystemError("getsockopt", .notSocket) }
                return descriptor
            } catch {
                throw VMError(.resource, "descriptor \(raw): \(error.errno); expected a Unix socket, listening or connected.")
            }
        }
    }
}
