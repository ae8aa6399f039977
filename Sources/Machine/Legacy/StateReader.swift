import Schema
import Virtio

/// Reads one object of a saved state strictly: every field must be there, in range, and nothing else may be.
///
/// Unlike a configuration a saved state has no defaults: what is missing was lost, and guessing would corrupt the guest.
struct StateReader {
    private let path: String
    private let members: [String: JSONValue]
    private var asked: Set<String> = []

    private init(_ value: JSONValue, path: String) throws(DeviceError) {
        guard case .object(let members) = value else { throw Self.mismatch(path, expected: "an object", found: value) }
        self.path = path
        self.members = members
    }

    /// Reads the object at `path` with `body`, then refuses fields that nobody asked for.
    static func read<Value>(
        _ value: JSONValue, path: String, _ body: (inout StateReader) throws(DeviceError) -> Value
    ) throws(DeviceError) -> Value {
        var reader = try StateReader(value, path: path)
        let result = try body(&reader)
        if let stranger = reader.members.keys.sorted().first(where: { !reader.asked.contains($0) }) {
            throw DeviceError("\(path).\(stranger): is not a field of this device's state.")
        }
        return result
    }

    /// Checks that the object has no fields at all: the device has no state.
    static func expectEmpty(_ value: JSONValue, path: String) throws(DeviceError) {
        try read(value, path: path) { (_) throws(DeviceError) in }
    }

    /// An integer of a width, optionally within a narrower range.
    mutating func integer<T: FixedWidthInteger>(_ key: String, _ type: T.Type = T.self, in range: ClosedRange<T> = T.min...T.max)
        throws(DeviceError) -> T
    {
        try Self.integer(try field(key), path: path(of: key), in: range)
    }

    /// True or false.
    mutating func bool(_ key: String) throws(DeviceError) -> Bool {
        let found = try field(key)
        guard case .bool(let value) = found else { throw Self.mismatch(path(of: key), expected: "true or false", found: found) }
        return value
    }

    /// One of the names of an enumeration.
    mutating func choice<Choice: CaseIterable & RawRepresentable>(_ key: String, of type: Choice.Type = Choice.self)
        throws(DeviceError) -> Choice where Choice.RawValue == String
    {
        let found = try field(key)
        guard case .string(let name) = found, let choice = Choice(rawValue: name) else {
            let names = Choice.allCases.map(\.rawValue).joined(separator: ", ")
            throw Self.mismatch(path(of: key), expected: "one of \(names)", found: found)
        }
        return choice
    }

    /// An array of bytes whose length lies in a range.
    mutating func bytes(_ key: String, count: ClosedRange<Int>) throws(DeviceError) -> [UInt8] {
        try array(key, count: count) { (value, path) throws(DeviceError) in
            try Self.integer(value, path: path, in: UInt8.min...UInt8.max)
        }
    }

    /// An array of bytes, or null.
    mutating func optionalBytes(_ key: String, count: Int) throws(DeviceError) -> [UInt8]? {
        if try field(key) == .null { return nil }
        return try bytes(key, count: count...count)
    }

    /// An array whose length lies in a range; `element` reads each one, given its path.
    mutating func array<Element>(
        _ key: String, count: ClosedRange<Int>, _ element: (JSONValue, String) throws(DeviceError) -> Element
    ) throws(DeviceError) -> [Element] {
        let found = try field(key)
        guard case .array(let values) = found, count.contains(values.count) else {
            let length = count.lowerBound == count.upperBound ? "\(count.lowerBound)" : "\(count.lowerBound) to \(count.upperBound)"
            throw Self.mismatch(path(of: key), expected: "an array of \(length) elements", found: found)
        }
        var result: [Element] = []
        for (index, value) in values.enumerated() { result.append(try element(value, "\(path(of: key))[\(index)]")) }
        return result
    }

    private func path(of key: String) -> String { "\(path).\(key)" }

    private mutating func field(_ key: String) throws(DeviceError) -> JSONValue {
        asked.insert(key)
        guard let value = members[key] else { throw DeviceError("\(path(of: key)): is missing.") }
        return value
    }

    private static func integer<T: FixedWidthInteger>(_ found: JSONValue, path: String, in range: ClosedRange<T>) throws(DeviceError) -> T {
        guard case .integer(let wide) = found, let value = T(exactly: wide), range.contains(value) else {
            throw mismatch(path, expected: "an integer from \(range.lowerBound) to \(range.upperBound)", found: found)
        }
        return value
    }

    private static func mismatch(_ path: String, expected: String, found: JSONValue) -> DeviceError {
        DeviceError("\(path): expected \(expected), found \(found.spoken).")
    }
}
