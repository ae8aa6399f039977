import Devices
import Host
package import Schema
import Virtio
import Virtqueue

/// What a device's process is told before it begins: on a memory file that it inherits.
package struct DeviceBrief {
    /// The device, as in `vm.json` with every default filled in.
    let device: JSONValue
    /// The VM's name, of which MAC addresses are derived.
    let vmName: String
    /// Whether the process is in a user namespace.
    let hasUserNamespace: Bool
    /// Whether the host's kernel is served, and the socket is none but the device's end of a VDUSE device.
    let isVDUSE: Bool
    /// Whether the front-end is its owner's own, which may pass requests of the control side on.
    let isOwn: Bool
    /// How much is logged, and how.
    let log: LogSettings
    /// The text of its policy; nil: the built-in one.
    let policy: String?

    /// Where the process finds what it inherits; descriptors of the device come behind.
    enum Descriptor {
        static let control = JailedProcess.control
        static let socket: Int32 = 4
        static let brief: Int32 = 5
        /// Open for as long as I/O of the process is under way.
        static let witness: Int32 = 6
        static let device: Int32 = 7
    }

    package init(
        _ device: JSONValue, vmName: String, hasUserNamespace: Bool, isOwn: Bool, isVDUSE: Bool = false, log: LogSettings,
        policy: String? = nil
    ) {
        self.device = device
        self.vmName = vmName
        self.hasUserNamespace = hasUserNamespace
        self.isOwn = isOwn
        self.isVDUSE = isVDUSE
        self.log = log
        self.policy = policy
    }

    private var document: JSONValue {
        [
            "device": device, "vmName": .string(vmName), "hasUserNamespace": .bool(hasUserNamespace), "isOwn": .bool(isOwn),
            "isVDUSE": .bool(isVDUSE), "logLevel": .string(log.level.rawValue), "logFormat": .string(log.format.rawValue),
            "policy": policy.map { .string($0) } ?? .null,
        ]
    }

    /// The brief as a file to inherit.
    func file() throws(SystemError) -> OwnedDescriptor {
        let bytes = Array(JSONText.encode(document, compact: true).utf8)
        let file = try makeMemoryFile(name: "brief", size: 0)
        try file.writeAll(bytes)
        return file
    }

    /// The brief that this process inherited.
    static func inherited() throws -> (brief: DeviceBrief, settings: DeviceSettings) {
        let file = try OwnedDescriptor.adopting(inherited: Descriptor.brief)
        var bytes = [UInt8](repeating: 0, count: Int(clamping: try file.size()))
        var span = bytes.mutableSpan
        var untyped = span.untyped
        guard try file.read(into: &untyped, at: 0) == untyped.byteCount, case .object(let members) = try JSONText.decode(bytes),
            let device = members["device"], case .string(let vmName)? = members["vmName"],
            case .bool(let hasUserNamespace)? = members["hasUserNamespace"], case .bool(let isOwn)? = members["isOwn"],
            case .string(let level)? = members["logLevel"], case .string(let format)? = members["logFormat"]
        else { throw DeviceError("The device's process was started without a brief.") }
        // Absent in what an older version of swvmm writes.
        let isVDUSE = members["isVDUSE"] == .bool(true)
        var policy: String?
        if case .string(let text)? = members["policy"] { policy = text }
        let settings = try ConfigDocument.decode(device, resolvePath: { $0 }, DeviceSettings.init).value
        let log = LogSettings(level: LogLevel(rawValue: level) ?? .notice, format: LogFormat(rawValue: format) ?? .text)
        let brief = DeviceBrief(
            device, vmName: vmName, hasUserNamespace: hasUserNamespace, isOwn: isOwn, isVDUSE: isVDUSE, log: log, policy: policy)
        return (brief, settings)
    }
}
