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
                        ["address": .hex($0.message.address), "data": .integer(clamping: $0.message.data), "masked": .bool($0.isMasked)]
                    }),
                "pending": .array(state.pending.map { .bool($0) }),
                "vectors": .array(state.vectors.map { .integer(clamping: $0) }),
            ]
        }
    }

    /// Takes them over, while MSI-X is disabled.
    func restore(_ saved: SavedValue) throws(StateError) {
        let sourceCount = state.withLock { $0.vectors.count }
        let (entries, pending, vectors) = try saved.read { (fields) throws(StateError) in
            let entries = try fields.array("table", count: vectorCount...vectorCount) { (entry) throws(StateError) in
                try entry.read { (fields) throws(StateError) in
                    let message = MSIMessage(address: try fields.hex("address"), data: try fields.integer("data"))
                    return Entry(message: message, isMasked: try fields.bool("masked"))
                }
            }
            let pending = try fields.array("pending", count: vectorCount...vectorCount) { (bit) throws(StateError) in try bit.bool() }
            let vectors = try fields.array("vectors", count: sourceCount...sourceCount) { (saved) throws(StateError) in
                let vector: UInt16 = try saved.integer()
                guard vector == Self.noVector || Int(vector) < vectorCount else {
                    throw saved.error(expected: "\(Self.noVector) or a vector below \(vectorCount), found \(vector)")
                }
                return vector
            }
            return (entries, pending, vectors)
        }
        state.withLock { state in
            state.entries = entries
            state.pending = pending
        }
        for (source, vector) in vectors.enumerated() { setVector(vector, of: source) }
    }
}
