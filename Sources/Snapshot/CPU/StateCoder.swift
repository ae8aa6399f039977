import Schema

/// Goes through the fields of a state, in one direction or the other: each state lists its fields once, and is written and read by the
/// same list.
protocol StateCoder {
    /// A number as a hexadecimal string: addresses, masks and whatever has 64 bits.
    mutating func hex<T: FixedWidthInteger & UnsignedInteger>(_ name: String, _ value: inout T) throws(StateError)
    /// A number that people count with, at most `limit`.
    mutating func number<T: FixedWidthInteger & UnsignedInteger>(_ name: String, _ value: inout T, upTo limit: T) throws(StateError)
    /// A list of `count` numbers as hexadecimal strings.
    mutating func hexes(_ name: String, _ values: inout [UInt64], count: Int) throws(StateError)
    /// Bytes that only a processor understands.
    mutating func blob(_ name: String, _ bytes: inout [UInt8], count: ClosedRange<Int>) throws(StateError)
    /// A state within the state.
    mutating func nested<Value: CodedState>(_ name: String, _ value: inout Value) throws(StateError)
    /// A list of states.
    mutating func list<Value: CodedState>(_ name: String, _ values: inout [Value], count: ClosedRange<Int>) throws(StateError)
}

extension StateCoder {
    mutating func number<T: FixedWidthInteger & UnsignedInteger>(_ name: String, _ value: inout T) throws(StateError) {
        try number(name, &value, upTo: .max)
    }
}

/// A state that lists its fields.
protocol CodedState {
    /// A state to read into.
    init()
    /// Goes through all fields.
    mutating func code(_ coder: inout some StateCoder) throws(StateError)
}

extension CodedState {
    /// The state as a JSON object.
    var json: JSONValue {
        var writer = StateWriter()
        var copy = self
        // Writing fails nowhere: the errors belong to the other direction.
        try? copy.code(&writer)
        return .object(writer.members)
    }

    /// Reads the state; every field must be there, and nothing else.
    init(_ saved: SavedValue) throws(StateError) {
        var state = Self()
        try saved.read { (fields) throws(StateError) in
            var reader = StateFieldReader(fields: fields)
            try state.code(&reader)
            // Which fields were asked for is in the reader's copy.
            fields = reader.fields
        }
        self = state
    }
}

/// Writes fields into a JSON object.
struct StateWriter: StateCoder {
    private(set) var members: [String: JSONValue] = [:]

    mutating func hex<T: FixedWidthInteger & UnsignedInteger>(_ name: String, _ value: inout T) {
        members[name] = .hex(UInt64(truncatingIfNeeded: value))
    }

    mutating func number<T: FixedWidthInteger & UnsignedInteger>(_ name: String, _ value: inout T, upTo limit: T) {
        members[name] = .integer(Int64(clamping: value))
    }

    mutating func hexes(_ name: String, _ values: inout [UInt64], count: Int) { members[name] = .array(values.map { .hex($0) }) }

    mutating func blob(_ name: String, _ bytes: inout [UInt8], count: ClosedRange<Int>) { members[name] = .base64(bytes) }

    mutating func nested<Value: CodedState>(_ name: String, _ value: inout Value) { members[name] = value.json }

    mutating func list<Value: CodedState>(_ name: String, _ values: inout [Value], count: ClosedRange<Int>) {
        members[name] = .array(values.map(\.json))
    }
}

/// Reads fields from a JSON object.
struct StateFieldReader: StateCoder {
    var fields: StateFields

    mutating func hex<T: FixedWidthInteger & UnsignedInteger>(_ name: String, _ value: inout T) throws(StateError) {
        value = T(truncatingIfNeeded: try fields.hex(name, upTo: UInt64(T.max)))
    }

    mutating func number<T: FixedWidthInteger & UnsignedInteger>(_ name: String, _ value: inout T, upTo limit: T) throws(StateError) {
        value = try fields.integer(name, in: 0...limit)
    }

    mutating func hexes(_ name: String, _ values: inout [UInt64], count: Int) throws(StateError) {
        values = try fields.array(name, count: count...count) { (element) throws(StateError) in try element.hex() }
    }

    mutating func blob(_ name: String, _ bytes: inout [UInt8], count: ClosedRange<Int>) throws(StateError) {
        bytes = try fields.base64(name, size: count)
    }

    mutating func nested<Value: CodedState>(_ name: String, _ value: inout Value) throws(StateError) {
        value = try Value(fields[name])
    }

    mutating func list<Value: CodedState>(_ name: String, _ values: inout [Value], count: ClosedRange<Int>) throws(StateError) {
        values = try fields.array(name, count: count) { (element) throws(StateError) in try Value(element) }
    }
}
