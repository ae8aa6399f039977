import Schema

/// A saved state that cannot be taken over: where in the document, and what was expected.
public struct RestoreError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The JSON path below the device, such as `queues[1].size`.
    public let path: String
    /// What was expected there.
    public let expectation: String

    /// One sentence.
    public var description: String { "\(path): expected \(expectation)." }
}

/// A value of a saved state, with its place in the document.
struct SavedValue {
    let value: JSONValue
    let path: String

    func wrong(_ expectation: String) -> RestoreError { RestoreError(path: path, expectation: expectation) }

    /// A member that must be there.
    func member(_ key: String) throws(RestoreError) -> SavedValue {
        guard let found = try optionalMember(key) else {
            throw RestoreError(path: path.isEmpty ? key : "\(path).\(key)", expectation: "a value, found none")
        }
        return found
    }

    /// A member that may be missing.
    func optionalMember(_ key: String) throws(RestoreError) -> SavedValue? {
        guard case .object(let members) = value else { throw wrong("an object, found \(value.spoken)") }
        return members[key].map { SavedValue(value: $0, path: path.isEmpty ? key : "\(path).\(key)") }
    }

    /// The elements of an array of a given length.
    func elements(count: Int) throws(RestoreError) -> [SavedValue] {
        guard case .array(let elements) = value, elements.count == count else { throw wrong("an array of \(count) elements") }
        return elements.enumerated().map { SavedValue(value: $1, path: "\(path)[\($0)]") }
    }

    func bool() throws(RestoreError) -> Bool {
        guard case .bool(let value) = value else { throw wrong("true or false, found \(value.spoken)") }
        return value
    }

    /// An integer that fits the type and lies below or at `limit`.
    func integer<T: FixedWidthInteger & UnsignedInteger>(upTo limit: T = .max) throws(RestoreError) -> T {
        guard case .integer(let number) = value, let exact = T(exactly: number), exact <= limit else {
            throw wrong("an integer from 0 to \(limit), found \(value.spoken)")
        }
        return exact
    }

    /// A 64-bit number as a hex string.
    func hex() throws(RestoreError) -> UInt64 {
        guard case .string(let text) = value, text.hasPrefix("0x"), let number = UInt64(text.dropFirst(2), radix: 16) else {
            throw wrong("a 64-bit number such as \"0x1f\", found \(value.spoken)")
        }
        return number
    }

    /// One of the names of an enumeration.
    func choice<T: RawRepresentable & CaseIterable>() throws(RestoreError) -> T where T.RawValue == String {
        guard case .string(let name) = value, let choice = T(rawValue: name) else {
            throw wrong("one of \(T.allCases.map { $0.rawValue }.joined(separator: ", ")), found \(value.spoken)")
        }
        return choice
    }
}

extension JSONValue {
    /// Any integer that fits.
    static func number<T: FixedWidthInteger>(_ value: T) -> JSONValue { .integer(Int64(clamping: value)) }
}
