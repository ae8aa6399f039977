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

    private init(_ control: consuming VDUSEControl, _ name: String, _ node: Slot<OwnedDescriptor>) {
        self.control = control
        self.name = name
        self.node = node.take()
    }

    /// Makes the device `name`, like the one that the settings and descriptors describe. What is left of an earlier one of that name is cleared
    /// away, if nobody uses it.
    static func open(
        _ name: String, _ settings: DeviceSettings, _ descriptors: borrowing PassedDescriptors
    ) throws(VMError) -> VDUSEDoor {
        guard (1...64).contains(name.utf8.count), name.utf8.allSatisfy(Self.isPlain), name != "control", name.first != "." else {
            throw VMError(.usage, "--vduse \(name): expected 1 to 64 letters, digits, dots, dashes or underscores, and not \"control\".")
        }
        let offer = try offer(settings, descriptors)
        let control = try openControl()
        try make(name, offer, control)
        let node: Slot<OwnedDescriptor>
        do throws(SystemError) { node = Slot(try openNode(name, offer)) } catch {
            try? control.destroy(name)
            throw VMError(
                .resource, "\(directory)/\(name): \(error.errno) (\(error.call)); the device that was made there cannot be used.")
        }
        return VDUSEDoor(control, name, node)
    }

    private static func make(_ name: String, _ offer: VDUSEOffer, _ control: borrowing VDUSEControl) throws(VMError) {
        do throws(SystemError) {
            do throws(SystemError) { try create(name, offer, control) } catch {
                guard error.errno == .exists, (try? control.destroy(name)) != nil else { throw error }
                try create(name, offer, control)
            }
        } catch {
            let remedy =
                switch error.errno {
                case .exists: "a device of that name is in use; choose another name, or take it away (vdpa dev del \(name))"
                case .notPermitted, .accessDenied: "be root"
                case .invalidArgument: "this kernel does not take such a device"
                default: "the host's kernel could not make the device"
                }
            throw VMError(.resource, "\(directory)/\(name): \(error.errno) (\(error.call)); \(remedy).")
        }
    }

    private static func create(_ name: String, _ offer: VDUSEOffer, _ control: borrowing VDUSEControl) throws(SystemError) {
        try control.create(
            name, device: offer.deviceType.rawValue, features: offer.features.rawValue, queueCount: offer.queueSizes.count,
            configuration: offer.configuration)
    }

    /// Opens the device's end, and says how large its queues can be.
    private static func openNode(_ name: String, _ offer: VDUSEOffer) throws(SystemError) -> OwnedDescriptor {
        // udev may need a moment for the node where devtmpfs does not make it.
        let node = try withPatience(while: { $0.errno == .noEntry }) { () throws(SystemError) in
            try OwnedDescriptor.open("\(directory)/\(name)", flags: O_RDWR)
        }
        let queues = try VDUSENode(try node.duplicate())
        for (index, size) in offer.queueSizes.enumerated() { try queues.setUpQueue(index, largest: size) }
        return node
    }

    /// The device's end, for its process; once.
    mutating func takeNode() throws(VMError) -> OwnedDescriptor {
        guard let node = node.take() else { throw VMError(.failure, "The VDUSE device has no end left.") }
        return node
    }

    /// Takes the device away. Its process has ended.
    mutating func close() throws(VMError) {
        // The kernel closes what a process had open when it has ended, which may be a moment after it was seen to.
        node = nil
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
