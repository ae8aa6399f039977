public import Schema

/// Reads a device's saved state: every member must be there and of its type, and no other member may be.
public struct SavedState {
    private let members: [String: JSONValue]
    private let device: String

    /// The state of the device called `device`, which has exactly the members in `names`.
    public init(_ value: JSONValue, of device: String, members names: [String]) throws(DeviceError) {
        guard case .object(let members) = value else { throw DeviceError("The saved state of \(device) is not an object.") }
        if let unknown = members.keys.sorted().first(where: { !names.contains($0) }) {
            throw DeviceError("The saved state of \(device) has the unknown member \(unknown).")
        }
        self.members = members
        self.device = device
    }

    private func wrong(_ name: String, _ expected: String) -> DeviceError {
        DeviceError("The member \(name) in the saved state of \(device) is missing or not \(expected).")
    }

    /// A truth value.
    public func bool(_ name: String) throws(DeviceError) -> Bool {
        guard case .bool(let value)? = members[name] else { throw wrong(name, "true or false") }
        return value
    }

    /// A string.
    public func string(_ name: String) throws(DeviceError) -> String {
        guard case .string(let value)? = members[name] else { throw wrong(name, "a string") }
        return value
    }

    /// An integer within bounds.
    public func integer(_ name: String, in range: ClosedRange<Int64>) throws(DeviceError) -> Int64 {
        guard case .integer(let value)? = members[name], range.contains(value) else {
            throw wrong(name, "an integer from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// A 64-bit value as `JSONValue.hex` writes it.
    public func hex(_ name: String) throws(DeviceError) -> UInt64 {
        guard case .string(let text)? = members[name], text.hasPrefix("0x"), let value = UInt64(text.dropFirst(2), radix: 16) else {
            throw wrong(name, "a hexadecimal string such as \"0x1000\"")
        }
        return value
    }

    /// Any member, for states within states.
    public func value(_ name: String) throws(DeviceError) -> JSONValue {
        guard let value = members[name] else { throw wrong(name, "there") }
        return value
    }
}
