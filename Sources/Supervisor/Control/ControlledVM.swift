public import Schema

/// What the control socket needs of a running VM.
///
/// The first three are called on the server's event loop, also while a command runs: they answer from what is known at the moment and
/// never wait for the guest or a command, and for a device in a process of its own 50 ms at most. The others may take their time: they are
/// called on one thread of the server, one after the other.
public protocol ControlledVM: AnyObject, Sendable {
    /// The VM at a glance: an object with at least `name`, `pid`, `state` ("created", "running", "asleep", "stopped"), `version`, `cpus`,
    /// `memory` (bytes) and `since` (when the VM was started, RFC 3339: `ControlTime.text`).
    func info() -> JSONValue

    /// The resolved configuration.
    func configuration() -> JSONValue

    /// One object for each device: at least `id`, `type`, `transport`, `lifecycle` and `counters` (an object of numbers).
    func devices() -> [JSONValue]

    /// Puts the VM to sleep; false when it was asleep already.
    func sleep() throws(VMError) -> Bool

    /// Wakes the VM; false when it was awake already.
    func wake() throws(VMError) -> Bool

    /// Writes a snapshot and returns an object that tells what was written.
    func snapshot(_ request: SnapshotRequest) throws(VMError) -> JSONValue

    /// Begins to end the VM: by its power button and, after the configured time, by force; or by force at once.
    func stop(force: Bool) throws(VMError)

    /// Has the process of a device replaced by one of the program as it is installed now; the new process's id.
    func upgradeDevice(_ id: String) throws(VMError) -> Int32

    /// Presses the power button.
    func pressPowerButton()
}
