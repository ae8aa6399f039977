public import Schema

/// A document that differs from a good one in one place. Who reads strictly refuses it with the path of that place.
public struct Mutation: Sendable, CustomStringConvertible {
    /// What was done to the place.
    public enum Kind: Sendable, CaseIterable {
        /// A member was removed.
        case removed
        /// An element of an array was removed: wrong where the length is fixed.
        case shortened
        /// The value is of another type.
        case retyped
        /// An integer, or a hex string, beyond any range: 2⁶³ − 1, or 65 bits.
        case huge
        /// An integer, or a hex string, below zero: wrong but for the few fields that have a sign.
        case negative
        /// A string is empty.
        case emptyString
        /// A member was added that nobody knows.
        case stranger
    }

    /// The place. For `removed` and `stranger` it is the member's; for `shortened` that of the element, whose array is wrong now.
    public let path: JSONPath
    /// What was done there.
    public let kind: Kind
    /// The whole changed document.
    public let document: JSONValue

    /// The path that a strict reader's error must name.
    public var blamed: String { (kind == .shortened ? JSONPath(path.steps.dropLast()) : path).description }

    /// `queues[0].size removed`.
    public var description: String { "\(path) \(kind)" }
}

/// The key of the member that `Mutation.Kind.stranger` adds.
public let strangerKey = "stranger"

/// Copies of a document with each field in turn removed, retyped and set out of range, and one with a stranger for each object.
public func mutations(of document: JSONValue) -> [Mutation] {
    var result: [Mutation] = []
    for (path, value) in document.places() {
        func add(_ kind: Mutation.Kind, _ replacement: JSONValue?, at place: JSONPath? = nil) {
            let place = place ?? path
            result.append(Mutation(path: place, kind: kind, document: document.replacing(place, with: replacement)))
        }
        switch path.steps.last {
        case .key: add(.removed, nil)
        case .index: add(.shortened, nil)
        case nil: break
        }
        switch value {
        // One that no nullable field has either.
        case .null: add(.retyped, [[]])
        case .bool: add(.retyped, "true")
        case .number: add(.retyped, true)
        case .integer:
            add(.retyped, true)
            add(.huge, .integer(.max))
            add(.negative, -1)
        case .string(let text):
            add(.retyped, true)
            if !text.isEmpty { add(.emptyString, "") }
            if text.hasPrefix("0x") {
                add(.huge, "0x10000000000000000")
                add(.negative, .string("-" + text))
            }
        case .array: add(.retyped, [:])
        case .object:
            add(.retyped, [])
            add(.stranger, 1, at: path.appending(.key(strangerKey)))
        }
    }
    return result
}
