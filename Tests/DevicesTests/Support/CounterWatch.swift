import Host
import Synchronization
import Virtio

/// Reads a device's counters again and again on a thread of its own, and notes whether one of them ever went back.
final class CounterWatch {
    private final class Findings: Sendable {
        let changes = Atomic(0)
        let decreases = Atomic(0)
    }

    private let findings = Findings()
    private let worker: WorkerThread<Bool>

    init(_ device: any VirtioDevice) throws {
        let findings = findings
        worker = try WorkerThread(name: "counters", state: true) { _, stop in
            var last = device.counters
            while !stop.drain() {
                let now = device.counters
                for (name, value) in last where now[name, default: 0] < value { findings.decreases.add(1, ordering: .relaxed) }
                if now != last { findings.changes.add(1, ordering: .relaxed) }
                last = now
            }
        }
    }

    /// How often something had changed since the look before.
    var changes: Int { findings.changes.load(ordering: .relaxed) }

    /// Ends it; how often a counter was lower than at the look before.
    func finish() -> Int {
        _ = worker.stop()
        return findings.decreases.load(ordering: .relaxed)
    }
}
