/// A value of a saved state with its place in the document: the strict reader of everything that was saved.
///
/// Unlike a configuration a saved state has no defaults and no strangers. What is missing was lost, and guessing would corrupt the
/// guest; what nobody asks for would be lost silently. So each field must be there, of its type and in its range, and an object with a
/// member that was not asked for is refused:
///
///     let (selected, id) = try saved.read { (fields) throws(StateError) in
///         (try fields.integer("registerSelect", UInt8.self), try fields.integer("id", in: UInt8(0)...15))
///     }
///
/// Every error names the whole path. The path is worked out only for an error.
public struct SavedValue: Sendable {
    /// What stands in the document; nil when nothing does.
    let found: JSONValue?
    private let parent: JSONPath
    private let step: JSONPath.Step?
    /// Whether null would have been right as well: for messages.
    private let mayBeNull: Bool

    /// A document, or a part of one that stands at `path`.
    public init(_ value: JSONValue, path: JSONPath = JSONPath()) {
        self.init(found: value, parent: path, step: nil)
    }

    init(found: JSONValue?, parent: JSONPath, step: JSONPath.Step?, mayBeNull: Bool = false) {
        self.found = found
        self.parent = parent
        self.step = step
        self.mayBeNull = mayBeNull
    }

    /// The value's place.
    public var path: JSONPath { step.map { parent.appending($0) } ?? parent }

    /// The value itself, whatever it is.
    public func value() throws(StateError) -> JSONValue {
        guard let found else { throw mismatch(expected: "a value") }
        return found
    }

    /// The value, or nil for null. A value that is not there at all is neither: reading it is an error.
    public var optional: SavedValue? {
        found == .null ? nil : SavedValue(found: found, parent: parent, step: step, mayBeNull: true)
    }

    /// An error at this place: `expected` says what the place should have held, for rules that go beyond a type and a range.
    public func error(expected: String) -> StateError { StateError(path: path.description, expectation: expected) }

    func mismatch(expected: String) -> StateError {
        error(expected: "\(expected)\(mayBeNull ? " or null" : ""), found \(found?.spoken ?? "nothing")")
    }

    /// Reads an object with `body`, then refuses members that `body` did not ask for.
    public func read<Value>(_ body: (inout StateFields) throws(StateError) -> Value) throws(StateError) -> Value {
        guard case .object(let members)? = found else { throw mismatch(expected: "an object") }
        var fields = StateFields(members, path: path)
        let value = try body(&fields)
        try fields.finish()
        return value
    }

    /// Checks that this is an object without members: there is no state.
    public func expectEmpty() throws(StateError) { try read { (_) throws(StateError) in } }

    /// The members of an object whose keys are data, such as the ids of devices; sorted by key.
    public func members() throws(StateError) -> [(key: String, value: SavedValue)] {
        guard case .object(let members)? = found else { throw mismatch(expected: "an object") }
        let path = path
        return members.sorted { $0.key < $1.key }.map { ($0.key, SavedValue(found: $0.value, parent: path, step: .key($0.key))) }
    }

    /// The elements of an array whose length lies in a range.
    public func elements(count: ClosedRange<Int>) throws(StateError) -> [SavedValue] {
        guard case .array(let elements)? = found, count.contains(elements.count) else {
            let length = count.lowerBound == count.upperBound ? "\(count.lowerBound)" : "\(count.lowerBound) to \(count.upperBound)"
            guard case .array(let elements)? = found else { throw mismatch(expected: "an array of \(length) elements") }
            throw error(expected: "an array of \(length) elements\(mayBeNull ? " or null" : ""), found \(elements.count)")
        }
        let path = path
        return elements.enumerated().map { SavedValue(found: $1, parent: path, step: .index($0)) }
    }

    /// An array whose length lies in a range; `element` reads each one.
    public func array<Element>(count: ClosedRange<Int>, _ element: (SavedValue) throws(StateError) -> Element) throws(StateError)
        -> [Element]
    {
        var result: [Element] = []
        for value in try elements(count: count) { result.append(try element(value)) }
        return result
    }
}
