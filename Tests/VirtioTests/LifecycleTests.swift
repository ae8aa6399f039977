import Testing
import Virtio

/// Every state × every event against the table as a person would draw it.
struct LifecycleTests {
    private static let states = Lifecycle.Phase.allCases.flatMap { phase in
        [false, true].flatMap { asleep in
            [false, true].map { needsReset in Lifecycle(phase: phase, isAsleep: asleep, needsReset: needsReset) }
        }
    }

    private static let events: [Lifecycle.Event] =
        [.activate, .reset, .fail, .sleep, .wake, .snapshot]
        + Lifecycle.Phase.allCases.flatMap { [.restore($0, needsReset: false), .restore($0, needsReset: true)] }

    /// The drawing: `state event → state`. What is not in it is an error.
    private static let drawing: [String: String] = [
        "new activate": "active",
        "inactive activate": "active",
        "new reset": "new", "active reset": "inactive", "inactive reset": "inactive",
        "new, needs reset reset": "new", "active, needs reset reset": "inactive", "inactive, needs reset reset": "inactive",
        "new fail": "new, needs reset", "active fail": "active, needs reset", "inactive fail": "inactive, needs reset",
        "new, needs reset fail": "new, needs reset", "active, needs reset fail": "active, needs reset",
        "inactive, needs reset fail": "inactive, needs reset",
        "asleep(new) fail": "asleep(new), needs reset", "asleep(active) fail": "asleep(active), needs reset",
        "asleep(inactive) fail": "asleep(inactive), needs reset", "asleep(new), needs reset fail": "asleep(new), needs reset",
        "asleep(active), needs reset fail": "asleep(active), needs reset",
        "asleep(inactive), needs reset fail": "asleep(inactive), needs reset",
        "new sleep": "asleep(new)", "active sleep": "asleep(active)", "inactive sleep": "asleep(inactive)",
        "new, needs reset sleep": "asleep(new), needs reset", "active, needs reset sleep": "asleep(active), needs reset",
        "inactive, needs reset sleep": "asleep(inactive), needs reset",
        "asleep(new) wake": "new", "asleep(active) wake": "active", "asleep(inactive) wake": "inactive",
        "asleep(new), needs reset wake": "new, needs reset", "asleep(active), needs reset wake": "active, needs reset",
        "asleep(inactive), needs reset wake": "inactive, needs reset",
        "asleep(new) be snapshotted": "asleep(new)", "asleep(active) be snapshotted": "asleep(active)",
        "asleep(inactive) be snapshotted": "asleep(inactive)",
        "asleep(new), needs reset be snapshotted": "asleep(new), needs reset",
        "asleep(active), needs reset be snapshotted": "asleep(active), needs reset",
        "asleep(inactive), needs reset be snapshotted": "asleep(inactive), needs reset",
    ]

    @Test("every state × event pair follows the drawing, and every other pair is an error that names both")
    func exhaustive() {
        for state in Self.states {
            for event in Self.events {
                var expected = Self.drawing["\(state) \(event.name)"]
                if case .restore(let phase, let needsReset) = event, state.description == "asleep(new)" {
                    expected = "asleep(\(phase.rawValue))" + (needsReset ? ", needs reset" : "")
                }
                do {
                    let next = try state.after(event)
                    #expect(next.description == expected, "\(state) → \(event.name)")
                } catch {
                    #expect(expected == nil, "\(state) → \(event.name) must be allowed")
                    #expect(error.description == "A device that is \(state) cannot \(event.name).")
                }
            }
        }
    }

    @Test("a refused event leaves the state as it was")
    func refusedEventChangesNothing() {
        for state in Self.states {
            for event in Self.events {
                var changed = state
                do { try changed.apply(event) } catch { #expect(changed == state) }
            }
        }
    }
}
