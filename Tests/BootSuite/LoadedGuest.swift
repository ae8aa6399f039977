/// What such a guest is like.
struct LoadedGuest {
    let kernel: String
    let transport: String
    let packed: Bool
    let cpus: Int
    /// Who serves its disk, if that is one of the host's kernel.
    var disk: VdpaServer?
    /// Who serves disk and network over vhost-user, if they are not the VM's own.
    var backEnds = BackEnds.own

    enum BackEnds: String {
        case own
        /// Other processes of swvmm, started by somebody else.
        case ours
        /// The same for the network; qemu-storage-daemon for the disk.
        case others
    }

    var name: String {
        let served = backEnds == .own ? "" : ", back-ends of \(backEnds == .ours ? "swvmm" : "others")"
        return "\(disk.map { "\($0.rawValue), " } ?? "")\(transport), \(packed ? "packed" : "split"), \(cpus) vCPU, \(kernel)\(served)"
    }
}
