import Host
public import Schema

extension ControlClient {
    /// The VM at a glance.
    public func info() throws(VMError) -> JSONValue { try get("/v1/vm") }

    /// Puts the VM to sleep; false when it was asleep.
    public func sleep() throws(VMError) -> Bool { try command("/v1/vm/sleep").member("changed") == .bool(true) }

    /// Wakes the VM; false when it was awake.
    public func wake() throws(VMError) -> Bool { try command("/v1/vm/wake").member("changed") == .bool(true) }

    /// Makes a snapshot and returns what was written.
    public func snapshot(_ request: SnapshotRequest) throws(VMError) -> JSONValue { try command("/v1/vm/snapshot", request.json) }

    /// Has the process of a device replaced; the new one's id.
    public func upgradeDevice(_ id: String) throws(VMError) -> Int64 {
        guard StringRule.name.accepts(id), case .integer(let process)? = try command("/v1/devices/\(id)/upgrade").member("pid") else {
            throw VMError(.usage, "\(id): expected the id of a device.")
        }
        return process
    }

    /// Presses the power button.
    public func pressPowerButton() throws(VMError) { _ = try command("/v1/vm/power-button") }

    /// Ends the VM and waits until it has ended, for at most `seconds`.
    public func stop(force: Bool, seconds: Int64) throws(VMError) {
        _ = try command("/v1/vm/stop", ["force": .bool(force)])
        let deadline = MonotonicTime.now + min(max(seconds, 0), 86_400) * 1000
        let poller = try VMError.host("wait") { () throws(SystemError) in try Poller() }
        while isRunning {
            guard MonotonicTime.now < deadline else {
                throw VMError(.failure, "The VM \"\(name)\" has been asked to stop and still runs after \(seconds) s.")
            }
            _ = try? poller.wait(timeoutMilliseconds: 20) { _ in }
        }
    }
}
