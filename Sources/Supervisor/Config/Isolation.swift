/// Where a virtual machine and its devices live.
public enum Isolation: String, Sendable, CaseIterable {
    /// Each in a jailed process of its own.
    case process
    /// All in the process that opens what they need.
    case none

    /// What a configuration means that says nothing.
    static let standard = Isolation.process
}

/// What happens when the process of a device ends, or the vhost-user back-end of others behind it leaves, although nobody asked for it.
public enum CrashPolicy: String, Sendable, CaseIterable {
    /// It is started again, or waited for, and goes on where it was: the guest sees a pause.
    case restart
    /// The VM ends.
    case stop
    /// The guest is told that the device cannot go on; the others do.
    case failDevice = "fail-device"
}

/// What `vm.json` says about the ends of devices' processes and back-ends.
struct CrashSettings: Sendable {
    let policy: CrashPolicy
    /// How often one device's process is started again within a minute.
    let maxRestarts: Int

    /// For devices that are not a VM's.
    static let none = CrashSettings(policy: .stop, maxRestarts: 0)
}
