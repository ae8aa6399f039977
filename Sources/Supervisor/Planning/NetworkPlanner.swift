import CLinux
import Devices
import Host
import Virtio

/// Opens the back-end of a network device.
struct NetworkPlanner {
    let id: String
    /// The JSON path of the device.
    let key: String
    /// Something that the user must know of, such as the name of a tap that was made.
    let notice: @Sendable (String) -> Void

    /// What the back-end needs: the queues of a tap, or a socket; and the process behind that, if there is one.
    func open(_ settings: NetworkSettings) throws(VMError) -> (descriptors: Slot<PassedDescriptors>, helper: PasstProcess?) {
        var descriptors = PassedDescriptors()
        var helper: PasstProcess?
        switch settings.backend {
        case .vhostUser, .vhostVdpa: break
        case .user:
            let passt = try PasstProcess.start(key: "\(key).backend")
            helper = passt.process
            descriptors.append(passt.takeSocket())
        case .stream(let path): descriptors.append(try connect(to: path))
        case .descriptor(let raw):
            try append(
                try queue("descriptor \(raw)") { () throws(SystemError) in
                    try TapQueue(adopting: try OwnedDescriptor.duplicating(inherited: raw))
                }, to: &descriptors)
        case .tap(let name):
            for tap in try openTap(name, settings) { try append(tap, to: &descriptors) }
        }
        return (Slot(descriptors), helper)
    }

    private func connect(to path: String) throws(VMError) -> OwnedDescriptor {
        do { return try connectPatiently(path) } catch {
            let problem = error.errno == .wouldBlock ? "somebody listens, but takes no connections" : "\(error.errno)"
            throw VMError(.resource, "\(key).backend: \(path): \(problem); expected a Unix stream socket that accepts connections.")
        }
    }

    private func append(_ tap: TapQueue, to descriptors: inout PassedDescriptors) throws(VMError) {
        do { descriptors.append(try tap.descriptor.duplicate()) } catch {
            throw VMError(.host, "The host has no descriptor left (\(error)).")
        }
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
        do { return try withPatience(while: { $0.errno == .busy }, make) } catch {
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
