import CLinux
import Devices
import Host
import Virtio

/// Opens the back-end of a network device.
struct NetworkPlanner {
    let vmName: String
    let id: String
    let key: String
    let packedRing: Bool
    /// Something that the user must know of, such as the name of a tap that was made.
    let notice: (String) -> Void

    func make(_ settings: NetworkSettings) throws(VMError) -> (device: any VirtioDevice, helper: PasstProcess?) {
        let configuration = settings.configuration(vmName: vmName, id: id, packedRing: packedRing)
        switch settings.backend {
        case .user:
            let passt = try PasstProcess.start(key: "\(key).backend")
            let process = passt.process
            return (try device(configuration, stream: Slot(passt.takeSocket())), process)
        case .stream(let path):
            let socket: Slot<OwnedDescriptor>
            do { socket = Slot(try UnixSocket.connect(to: path)) } catch {
                throw VMError(.resource, "\(key).backend: \(path): \(error.errno); expected a Unix stream socket that accepts connections.")
            }
            return (try device(configuration, stream: socket), nil)
        case .descriptor(let raw):
            let tap = try queue("descriptor \(raw)") { () throws(SystemError) in
                try TapQueue(adopting: try OwnedDescriptor.duplicating(inherited: raw))
            }
            return (try device { () throws(DeviceError) in try NetworkDevice(configuration, taps: [tap]) }, nil)
        case .tap(let name):
            let taps = try openTap(name, settings)
            return (try device { () throws(DeviceError) in try NetworkDevice(configuration, taps: taps) }, nil)
        }
    }

    private func device(_ configuration: NetworkConfiguration, stream: Slot<OwnedDescriptor>) throws(VMError) -> any VirtioDevice {
        try device { () throws(DeviceError) in
            guard let socket = stream.take() else { throw DeviceError("The socket is gone.") }
            return try NetworkDevice(configuration, stream: socket)
        }
    }

    private func device(_ make: () throws(DeviceError) -> NetworkDevice) throws(VMError) -> any VirtioDevice {
        do { return try make() } catch { throw VMError(.resource, "\(key): \(error)") }
    }

    /// Joins the interface, or makes it; one queue for each queue pair.
    private func openTap(_ name: String?, _ settings: NetworkSettings) throws(VMError) -> [TapQueue] {
        let existed = name.map { NetworkInterface(existing: $0) != nil } ?? false
        let isMultiQueue = settings.queuePairs > 1
        let first = try queue(name ?? "a new tap") { () throws(SystemError) in
            try TapQueue(try openTun(), name: name ?? "swvmm%d", mode: name == nil ? .create : .join, multiQueue: isMultiQueue)
        }
        var taps = [first]
        while taps.count < settings.queuePairs {
            taps.append(
                try queue(first.name) { () throws(SystemError) in
                    try TapQueue(try openTun(), name: first.name, mode: .join, multiQueue: true)
                })
        }
        guard !existed else { return taps }
        let interface = NetworkInterface(of: first)
        _ = try queue(first.name) { () throws(SystemError) in
            if let mtu = settings.mtu { try interface.setMTU(Int(mtu)) }
            try interface.raise()
            return first
        }
        if name == nil { notice("\(id) is connected to the tap interface \(first.name).") }
        return taps
    }

    private func openTun() throws(SystemError) -> OwnedDescriptor { try OwnedDescriptor.open("/dev/net/tun", flags: O_RDWR) }

    private func queue(_ what: String, _ make: () throws(SystemError) -> TapQueue) throws(VMError) -> TapQueue {
        do { return try make() } catch {
            let remedy =
                switch error.errno {
                case .noEntry where error.call == "open": "load the module (modprobe tun)"
                case .notPermitted, .accessDenied:
                    "make the tap beforehand for your user (ip tuntap add \(what) mode tap user $USER), or use the \"user\" back-end"
                case .invalidArgument:
                    "expected a tap interface with\(what.hasPrefix("descriptor") ? "" : " or without") multi-queue as 'queuePairs' says"
                case .busy: "another process uses it"
                default: "expected a usable tap interface"
                }
            throw VMError(.resource, "\(key).backend: \(what): \(error.errno) (\(error.call)); \(remedy).")
        }
    }
}

extension NetworkSettings {
    /// What the driver is to see.
    func configuration(vmName: String, id: String, packedRing: Bool) -> NetworkConfiguration {
        NetworkConfiguration(
            label: id, mac: mac.flatMap { MACAddress($0) } ?? MACAddress(derivedFrom: "\(vmName)/\(id)"), mtu: mtu,
            queueSize: queueSize, packedRing: packedRing, offloads: offloads)
    }
}
