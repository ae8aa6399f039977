/// Where a virtual machine and its devices live.
public enum Isolation: String, Sendable, CaseIterable {
    /// Each in a jailed process of its own.
    case process
    /// All in the process that opens what they need.
    case none

    /// What a configuration means that says nothing.
    static let standard = Isolation.process
}

/// What happens when the process of a device ends although nobody asked for it.
public enum CrashPolicy: String, Sendable, CaseIterable {
    /// It is started again and goes on where it was: the guest sees a pause.
    case restart
    /// The VM ends.
    case stop
    /// The guest is told that the device cannot go on; the others do.
    case failDevice = "fail-device"
}

/// What `vm.json` says about processes of devices.
struct CrashSettings: Sendable {
    let policy: CrashPolicy
    /// How often one device's process is started again within a minute.
    let maxRestarts: Int
}
