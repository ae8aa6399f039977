import Hypervisor
import Schema
import Synchronization

extension MSIX {
    /// Table, pending bits and the vectors of all sources. Enable and function mask are in configuration space.
    func snapshot() -> [String: JSONValue] {
        state.withLock { state in
            collectPending(&state)
            return [
                "table": .array(
                    state.entries.map {
                        ["address": .hex($0.message.address), "data": .number($0.message.data), "masked": .bool($0.isMasked)]
                    }),
                "pending": .array(state.pending.map { .bool($0) }),
                "vectors": .array(state.vectors.map { .number($0) }),
            ]
        }
    }

    /// Takes them over, while MSI-X is disabled.
    func restore(_ saved: SavedValue) throws(RestoreError) {
        var entries: [Entry] = []
        for element in try saved.member("table").elements(count: vectorCount) {
            let message = MSIMessage(address: try element.member("address").hex(), data: try element.member("data").integer())
            entries.append(Entry(message: message, isMasked: try element.member("masked").bool()))
        }
        var pending: [Bool] = []
        for element in try saved.member("pending").elements(count: vectorCount) { pending.append(try element.bool()) }
        let count = state.withLock { $0.vectors.count }
        var vectors: [UInt16] = []
        for element in try saved.member("vectors").elements(count: count) {
            let vector: UInt16 = try element.integer()
            guard vector == Self.noVector || Int(vector) < vectorCount else {
                throw element.wrong("\(Self.noVector) or a vector below \(vectorCount)")
            }
            vectors.append(vector)
        }
        state.withLock { state in
            state.entries = entries
            state.pending = pending
        }
        for (source, vector) in vectors.enumerated() { setVector(vector, of: source) }
    }
}
