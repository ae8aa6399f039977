public import Schema

/// What `vm.json` says about a network device.
public struct NetworkSettings: Sendable, Equatable {
    /// Where frames go.
    public enum Backend: Sendable, Equatable {
        /// passt, started with the VM: networking without privileges.
        case user
        /// A tap interface, made for this VM (and removed with it) when the name is nil or unused.
        case tap(String?)
        /// An inherited descriptor of a tap.
        case descriptor(Int32)
        /// A Unix stream socket in the framing of QEMU's `-netdev stream`.
        case stream(String)
        /// Behind a vhost-user socket.
        case vhostUser(String)
        /// A vDPA device of the host's kernel, which has an address and offloads of its own.
        case vhostVdpa(String)
    }
    /// Where frames go.
    public let backend: Backend
    /// The guest's MAC address; nil chooses one from the VM's and the device's name.
    public let mac: String?
    /// The link's MTU in bytes, told to the guest (VIRTIO_NET_F_MTU); nil leaves it to the guest.
    public let mtu: UInt16?
    /// The number of queue pairs.
    public let queuePairs: Int
    /// Entries per queue.
    public let queueSize: UInt16
    /// Whether checksum and segmentation offloads are offered.
    public let offloads: Bool

    /// Reads the fields.
    public init(_ reader: ObjectReader) throws(ConfigError) {
        let tagged = try reader.optionalTagged(
            "backend", default: "user", doc: "Where frames go.",
            [
                TaggedForm("user", doc: "Start passt: networking without privileges."),
                TaggedForm("tap", doc: "A tap interface made for this VM."),
                TaggedForm("tap", .string(.interface), doc: "The tap interface of that name, made when it does not exist."),
                TaggedForm("fd", .integer(3...1_048_576), doc: "An inherited descriptor of an open tap."),
                TaggedForm("stream", .path, doc: "A Unix stream socket in the framing of QEMU's -netdev stream."),
                .vhostUser, .vhostVdpa,
            ])
        switch (tagged?.name, tagged?.text, tagged?.number) {
        case ("tap", let name, _): backend = .tap(name)
        case ("fd", _, let number?): backend = .descriptor(Int32(clamping: number))
        case ("stream", let path?, _): backend = .stream(path)
        case (TaggedForm.vhostUser.name, let path?, _): backend = .vhostUser(path)
        case (TaggedForm.vhostVdpa.name, let path?, _): backend = .vhostVdpa(path)
        default: backend = .user
        }
        mac = try reader.optionalString("mac", rule: .mac, doc: "The guest's MAC address; by default made from the names.")
        mtu = try reader.optionalInteger("mtu", in: 68...65535, doc: "The link's MTU in bytes.").map { UInt16(clamping: $0) }
        queuePairs = Int(try reader.integer("queuePairs", in: 1...8, default: 1, doc: "Number of queue pairs (VIRTIO_NET_F_MQ above 1)."))
        queueSize = try reader.queueSize(default: 256)
        offloads = try reader.bool("offloads", default: true, doc: "Offer checksum and segmentation offloads where the back-end can.")
        if case .vhostVdpa = backend {
            for (key, isSaid) in [("mac", mac != nil), ("mtu", mtu != nil), ("offloads", !offloads)] where isSaid {
                throw reader.error(key, "that is the back-end's to decide.")
            }
        }
        if queuePairs > 1 {
            switch backend {
            case .tap, .vhostUser: break
            default: throw reader.error("queuePairs", "expected 1: only a tap or vhost-user back-end has several queues.")
            }
        }
    }
}
