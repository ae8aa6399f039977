import Schema
import Synchronization
import TestSupport
import Transport

@testable import Machine

/// Writes down what happened.
final class Recorder<Item: Sendable>: Sendable {
    private let items = Mutex<[Item]>([])
    func add(_ item: Item) { items.withLock { $0.append(item) } }
    /// What happened since the last call.
    func take() -> [Item] {
        items.withLock { items in
            defer { items = [] }
            return items
        }
    }
}

final class EventRecorder: MachineEventSink {
    private let recorder = Recorder<MachineEvent>()
    func machineEvent(_ event: MachineEvent) { recorder.add(event) }
    func take() -> [MachineEvent] { recorder.take() }
}

/// Changes one field of a state; nil removes it.
func changing(_ state: JSONValue, _ key: String, to value: JSONValue?) -> JSONValue {
    guard case .object(var members) = state else { return state }
    members[key] = value
    return .object(members)
}

func field(_ state: JSONValue, _ key: String) -> JSONValue? {
    guard case .object(let members) = state else { return nil }
    return members[key]
}

/// Why a device refused a state that stands at `device` in its document; nil when it took it.
func refusal(_ device: any MachineDevice, _ state: JSONValue) -> String? {
    do throws(StateError) {
        try device.restore(SavedValue(state, path: "device"))
        return nil
    } catch {
        return error.description
    }
}

/// Pokes random registers in random widths, also beyond the end, and checks that the state survives a save and a restore each time.
func poke(_ device: any MachineDevice, range: UInt64, seed: UInt64, rounds: Int = 20_000) -> String? {
    var random = SeededRandom(seed: seed)
    for round in 0..<rounds {
        let offset = random.next() % 50 == 0 ? random.next() : random.next() % range
        let width = [1, 2, 4, 8][Int(random.next() % 4)]
        if Bool.random(using: &random) {
            _ = device.read(at: offset, width: width)
        } else {
            device.write(random.next() >> (random.next() % 64), at: offset, width: width)
        }
        if round % 97 == 0, let refusal = refusal(device, device.state) { return "round \(round): \(refusal)" }
    }
    return nil
}
