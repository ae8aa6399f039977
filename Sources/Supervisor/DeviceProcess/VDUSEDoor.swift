import CLinux
import Devices
import Host
import Vhost
import Virtio

/// A device of ours in the host's kernel: made, and taken away again.
struct VDUSEDoor: ~Copyable {
    private let control: VDUSEControl
    private let name: String
    /// The device's end, for its process. Only one process can have it open.
    private var node: OwnedDescriptor?

    private static let directory = "/dev/vduse"

    /// Makes the device `name`, like the one that the settings and descriptors describe. What is left of an earlier one of that name is cleared
    /// away, if nobody uses it.
    init(_ name: String, _ settings: DeviceSettings, _ descriptors: borrowing PassedDescriptors) throws(VMError) {
        self.name = name
        guard (1...64).contains(name.utf8.count), name.utf8.allSatisfy(Self.isPlain), name != "control", name.first != "." else {
            throw VMError(.usage, "--vduse \(name): expected 1 to 64 letters, digits, dots, dashes or underscores, and not \"control\".")
        }
        let path = "\(Self.directory)/\(name)"
        let offer = try Self.offer(settings, descriptors)
        control = try Self.openControl()
        do throws(SystemError) {
            let made: (borrowing VDUSEControl) throws(SystemError) -> Void = { (control) throws(SystemError) in
                try control.create(
                    name, device: offer.deviceType.rawValue, features: offer.features.rawValue, queueCount: offer.queueSizes.count,
                    configuration: offer.configuration)
            }
            do throws(SystemError) { try made(control) } catch {
                guard error.errno == .exists, (try? control.destroy(name)) != nil else { throw error }
                try made(control)
            }
        } catch {
            let remedy =
                switch error.errno {
                case .exists: "a device of that name is in use; choose another name, or take it away (vdpa dev del \(name))"
                case .notPermitted, .accessDenied: "be root"
                case .invalidArgument: "this kernel does not take such a device"
                default: "the host's kernel could not make the device"
                }
            throw VMError(.resource, "\(path): \(error.errno) (\(error.call)); \(remedy).")
        }
        do throws(SystemError) {
            // udev may need a moment for the node where devtmpfs does not make it.
            let opened = try withPatience(while: { $0.errno == .noEntry }) { () throws(SystemError) in
                try OwnedDescriptor.open(path, flags: O_RDWR)
            }
            let queues = try VDUSENode(try opened.duplicate())
            for (index, size) in offer.queueSizes.enumerated() { try queues.setUpQueue(index, largest: size) }
            node = consume opened
        } catch {
            try? control.destroy(name)
            throw VMError(.resource, "\(path): \(error.errno) (\(error.call)); the device that was made there cannot be used.")
        }
    }

    /// The device's end, for its process; once.
    mutating func takeNode() throws(VMError) -> OwnedDescriptor {
        guard let node = node.take() else { throw VMError(.failure, "The VDUSE device has no end left.") }
        return node
    }

    /// Takes the device away. Its process has ended.
    consuming func close() throws(VMError) {
        // The kernel closes what a process had open when it has ended, which may be a moment after it was seen to.
        let deadline = MonotonicTime.now + 1000
        while true {
            do throws(SystemError) { return try control.destroy(name) } catch {
                if error.errno == .busy, MonotonicTime.now < deadline, !pathExists("/sys/bus/vdpa/devices/\(name)") {
                    pause(milliseconds: 10)
                    continue
                }
                guard error.errno == .busy else {
                    throw VMError(.resource, "\(Self.directory)/\(name): \(error.errno) (\(error.call)).")
                }
                throw VMError(
                    .resource,
                    "\(Self.directory)/\(name): the kernel still has the device attached, and nobody serves it any more; take it away with 'vdpa dev del \(name)'."
                )
            }
        }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
            true
        default: false
        }
    }

    /// What the kernel is to be shown: learnt from a device that serves nobody.
    private static func offer(_ settings: DeviceSettings, _ descriptors: borrowing PassedDescriptors) throws(VMError) -> VDUSEOffer {
        do {
            var copies = PassedDescriptors()
            for raw in descriptors.rawValues { copies.append(try OwnedDescriptor.duplicating(inherited: raw)) }
            return settings.vduseOffer(try DeviceAssembly(vmName: settings.id).make(settings, &copies))
        } catch {
            throw VMError(.resource, "\(error)")
        }
    }

    private static func openControl() throws(VMError) -> VDUSEControl {
        let path = "\(directory)/control"
        do { return try VDUSEControl(try OwnedDescriptor.open(path, flags: O_RDWR)) } catch {
            let remedy =
                switch error.errno {
                case .noEntry: "load the module (modprobe vduse)"
                case .accessDenied, .notPermitted: "be root, or give yourself access to the file"
                default: "expected the control file of VDUSE"
                }
            throw VMError(.host, "\(path): \(error.errno); \(remedy).")
        }
    }
}
