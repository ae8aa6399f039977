/// The fields of one object of a saved state, while `SavedValue.read` reads it. Asking for a field is what makes it known.
public struct StateFields {
    private let members: [String: JSONValue]
    private let path: JSONPath
    private var asked: Set<String> = []

    init(_ members: [String: JSONValue], path: JSONPath) {
        self.members = members
        self.path = path
    }

    /// A field, to be read in any way. That it is not there shows when it is read.
    public subscript(_ key: String) -> SavedValue {
        mutating get {
            asked.insert(key)
            return SavedValue(found: members[key], parent: path, step: .key(key))
        }
    }

    /// An error at a field: `expected` says what it should have held, for rules that go beyond a type and a range.
    public func error(_ key: String, expected: String) -> StateError {
        StateError(path: path.appending(.key(key)).description, expectation: expected)
    }

    func finish() throws(StateError) {
        guard let stranger = members.keys.filter({ !asked.contains($0) }).min() else { return }
        let known = asked.isEmpty ? "none" : asked.sorted().joined(separator: ", ")
        throw error(stranger, expected: "no field of this name; known here: \(known)")
    }

    /// True or false.
    public mutating func bool(_ key: String) throws(StateError) -> Bool { try self[key].bool() }

    /// An integer of a width, optionally within a narrower range.
    public mutating func integer<T: FixedWidthInteger>(_ key: String, _ type: T.Type = T.self, in range: ClosedRange<T> = T.min...T.max)
        throws(StateError) -> T
    {
        try self[key].integer(in: range)
    }

    /// A number of up to 64 bits as a hex string.
    public mutating func hex(_ key: String, upTo limit: UInt64 = .max) throws(StateError) -> UInt64 { try self[key].hex(upTo: limit) }

    /// A string.
    public mutating func string(_ key: String) throws(StateError) -> String { try self[key].string() }

    /// One of the names of an enumeration.
    public mutating func choice<Choice: CaseIterable & RawRepresentable>(_ key: String, of type: Choice.Type = Choice.self)
        throws(StateError) -> Choice where Choice.RawValue == String
    {
        try self[key].choice()
    }

    /// An array of bytes whose length lies in a range.
    public mutating func bytes(_ key: String, count: ClosedRange<Int>) throws(StateError) -> [UInt8] { try self[key].bytes(count: count) }

    /// Opaque bytes in base64, whose size lies in a range.
    public mutating func base64(_ key: String, size: ClosedRange<Int>) throws(StateError) -> [UInt8] { try self[key].base64(size: size) }

    /// An array whose length lies in a range; `element` reads each one.
    public mutating func array<Element>(
        _ key: String, count: ClosedRange<Int>, _ element: (SavedValue) throws(StateError) -> Element
    ) throws(StateError) -> [Element] {
        try self[key].array(count: count, element)
    }

    /// A nested object.
    public mutating func object<Value>(_ key: String, _ body: (inout StateFields) throws(StateError) -> Value) throws(StateError) -> Value {
        try self[key].read(body)
    }

    /// A value that `read` reads, or nil for null.
    public mutating func optional<Value>(_ key: String, _ read: (SavedValue) throws(StateError) -> Value) throws(StateError) -> Value? {
        guard let value = self[key].optional else { return nil }
        return try read(value)
    }
}
