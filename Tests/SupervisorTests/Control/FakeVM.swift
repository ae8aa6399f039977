import Foundation
import Schema
import Synchronization

@testable import Supervisor

/// A VM that does what a test tells it to.
final class FakeVM: ControlledVM {
    struct State {
        var isAsleep = false
        var log: [String] = []
        /// Commands that are inside the VM at this moment, and the most there ever were.
        var inside = 0
        var mostInside = 0
        var error: VMError?
        /// How often somebody asked how the VM is.
        var asked = 0
    }
    let state = Mutex(State())
    /// When set, a snapshot waits here until the test lets it go.
    let gate: DispatchSemaphore?
    /// Signalled when a snapshot has begun.
    let begun = DispatchSemaphore(value: 0)

    init(gated: Bool = false) { gate = gated ? DispatchSemaphore(value: 0) : nil }

    var log: [String] { state.withLock { $0.log } }

    func info() -> JSONValue {
        state.withLock { $0.asked += 1 }
        return [
            "name": "fake", "pid": .integer(Int64(getpid())), "state": state.withLock { $0.isAsleep ? "asleep" : "running" },
            "version": "0.0.0", "cpus": 2, "memory": 536_870_912, "since": "2025-01-31T12:00:00.000Z",
        ]
    }

    func configuration() -> JSONValue { ["name": "fake", "boot": ["kernel": "/k"]] }

    func devices() -> [JSONValue] {
        ["disk", "net0"].map { id in
            [
                "id": .string(id), "type": "block", "transport": "pci", "lifecycle": "active",
                "counters": ["requests": 7, "errors": 0],
            ]
        }
    }

    private func command<Result>(_ name: String, _ body: (inout State) -> Result) throws(VMError) -> Result {
        let error: VMError? = state.withLock { state in
            state.log.append(name)
            state.inside += 1
            state.mostInside = max(state.mostInside, state.inside)
            return state.error
        }
        defer { state.withLock { $0.inside -= 1 } }
        if let error { throw error }
        return state.withLock { body(&$0) }
    }

    func upgradeDevice(_ id: String) throws(VMError) -> Int32 { try command("upgrade \(id)") { _ in 4711 } }

    func sleep() throws(VMError) -> Bool {
        try command("sleep") { state in
            defer { state.isAsleep = true }
            return !state.isAsleep
        }
    }

    func wake() throws(VMError) -> Bool {
        try command("wake") { state in
            defer { state.isAsleep = false }
            return state.isAsleep
        }
    }

    func snapshot(_ request: SnapshotRequest) throws(VMError) -> JSONValue {
        begun.signal()
        gate?.wait()
        return try command("snapshot \(request.directory)") { _ in ["directory": .string(request.directory), "bytes": 4096] }
    }

    func stop(force: Bool) throws(VMError) { try command("stop \(force)") { _ in } }

    func pressPowerButton() { _ = try? command("powerButton") { _ in } }
}
