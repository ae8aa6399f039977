import Schema
import VhostUser

/// A device's process or back-end that cannot be talked to any more.
struct LostBackEnd: Sendable, Equatable {
    /// The device's.
    let id: String
    /// Which one of those that the device has had, from 0: the news may come when another one has taken its place.
    let turn: Int
    /// Whether it does not answer at all.
    let hangs: Bool

    init(id: String, turn: Int, hangs: Bool) { (self.id, self.turn, self.hangs) = (id, turn, hangs) }

    var json: JSONValue { ["id": .string(id), "turn": .integer(Int64(clamping: turn)), "hangs": .bool(hangs)] }

    init(_ value: SavedValue) throws(StateError) {
        self = try value.read { (fields) throws(StateError) in
            Self(id: try fields.string("id"), turn: try fields.integer("turn"), hangs: try fields.bool("hangs"))
        }
    }
}

extension FrontendEvents {
    /// Tells `lost` of the `turn`th back-end of a device.
    static func telling(_ lost: @escaping @Sendable (LostBackEnd) -> Void, _ id: String, _ turn: Int) -> FrontendEvents {
        FrontendEvents { lost(LostBackEnd(id: id, turn: turn, hangs: $0.kind == .silence)) }
    }
}
