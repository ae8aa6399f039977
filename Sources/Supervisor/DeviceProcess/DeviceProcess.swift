import CLinux
import Devices
import Host
import Jail
import Logging
import Schema
import Vhost
import VhostUser
import Virtio

/// The inside of a device's process: puts the device together from what it inherited, closes the jail, and serves.
public enum DeviceProcess {
    /// The first argument of a program that is started as a device's process.
    public static let argument = "device-process"

    /// Runs until the supervisor hangs up or the only front-end that can come has left.
    public static func run() -> Never {
        let control: ControlLine
        do { control = try ControlLine(inherited: DeviceBrief.Descriptor.control) } catch { leave(with: ExitCode.failure.rawValue) }
        do {
            try serve(control)
            leave(with: ExitCode.success.rawValue)
        } catch {
            control.send(["error": .string("\(error)")])
            leave(with: ExitCode.failure.rawValue)
        }
    }

    private static func serve(_ control: ControlLine) throws {
        let (brief, settings) = try DeviceBrief.inherited()
        let log = brief.log
        // Only the supervisor of a VM listens to what is wrong; whoever else started us reads it on standard error.
        let isOwn = brief.isOwn
        LoggingSystem.bootstrap { label in
            log.makeHandler(label: label) { if isOwn { control.offer(["complaint": .string($1)]) } }
        }
        ignoreBrokenPipes()
        var descriptors = PassedDescriptors(inheritedFrom: DeviceBrief.Descriptor.device)
        let witness = try OwnedDescriptor.adopting(inherited: DeviceBrief.Descriptor.witness)
        let device = try DeviceAssembly(vmName: brief.vmName, witness: witness.rawValue).make(settings, &descriptors)
        let raw = try OwnedDescriptor.adopting(inherited: DeviceBrief.Descriptor.socket)
        let logger = Logger(label: "swvmm.\(settings.id)")
        let service: any DeviceService
        if brief.isVDUSE {
            service = VDUSEService(try VDUSENode(raw), settings, logger: logger)
        } else {
            let isListening = try raw.isListening()
            service = SocketService(DeviceSocket(raw, isListening: isListening), isOwn: isOwn, logger: logger)
        }
        let stop = try EventFD()
        let given = try brief.policy.map { (text) throws(JailError) in try SystemCallFilter(try Policy(text, name: "policy")) }
        guard let filter = given ?? SystemCallFilter.builtIn("\(device.deviceType)") else {
            throw DeviceError("No policy is known for \(device.deviceType).")
        }
        var jail = ProcessJail.Settings(filter: filter, report: DeviceBrief.Descriptor.control)
        jail.room = JailedProcess.inheritedDoor
        try ProcessJail.close(jail, inUserNamespace: brief.hasUserNamespace)
        device.onDeviceSandboxed()
        // The first byte that anybody but the supervisor could have written is read after this.
        let listener = try control.listen(
            onRequest: { request in
                if case .object(let members) = request, members["counters"] != nil {
                    control.send(["counters": .object(device.counters.mapValues { .integer(Int64(clamping: $0)) })])
                }
            }, onEnd: { stop.signal() })
        control.send(["ready": true])
        let failure = service.serve(device, stop: stop)
        listener.stop()
        _ = consume witness
        if let failure { throw failure }
    }
}
