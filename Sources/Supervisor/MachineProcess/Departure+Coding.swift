import Schema
import VhostUser

// What follows from a back-end's leaving, as it travels from a machine's process.

extension VhostUserFrontend.Departure {
    var json: JSONValue {
        ["obstacle": obstacle.map { .string($0) } ?? .null, "caveat": caveat.map { .string($0) } ?? .null]
    }

    init(_ value: SavedValue) throws(StateError) {
        self = try value.read { (fields) throws(StateError) in
            Self(
                obstacle: try fields.optional("obstacle") { (value) throws(StateError) in try value.string() },
                caveat: try fields.optional("caveat") { (value) throws(StateError) in try value.string() })
        }
    }
}
