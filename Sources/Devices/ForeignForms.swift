import Schema

extension TaggedForm {
    /// A device that is served by another process, over a vhost-user socket.
    static let vhostUser = TaggedForm("vhostUser", .path, doc: "The Unix socket of a vhost-user back-end.")
    /// A device that is a vDPA device of the host's kernel.
    static let vhostVdpa = TaggedForm("vhostVdpa", .path, doc: "A vDPA device of the host's kernel: /dev/vhost-vdpa-N.")
}

extension TaggedValue {
    /// The socket of a vhost-user back-end, if that is what the value says.
    var vhostUserPath: String? { name == TaggedForm.vhostUser.name ? text : nil }
    /// The node of a vDPA device, if that is what the value says.
    var vhostVdpaPath: String? { name == TaggedForm.vhostVdpa.name ? text : nil }
}

extension DeviceSettings {
    /// The vhost-user socket that the device is behind; nil for one of ours.
    public var vhostUserPath: String? {
        switch kind {
        case .block(let block):
            if case .vhostUser(let path) = block.source { path } else { nil }
        case .network(let network):
            if case .vhostUser(let path) = network.backend { path } else { nil }
        case .entropy(let entropy): entropy.vhostUserPath
        case .console(let console):
            if case .vhostUser(let path) = console.backend { path } else { nil }
        case .fileSystem(let files): files.socket
        }
    }

    /// The vDPA device that the device is; nil for another one.
    public var vhostVdpaPath: String? {
        switch kind {
        case .block(let block):
            if case .vhostVdpa(let path) = block.source { path } else { nil }
        case .network(let network):
            if case .vhostVdpa(let path) = network.backend { path } else { nil }
        case .entropy, .console, .fileSystem: nil
        }
    }

    /// Whether somebody else decides what the device is like: a back-end of another program, or the host's kernel.
    public var isForeign: Bool { vhostUserPath != nil || vhostVdpaPath != nil }
}
