import Schema

/// One step into a document.
enum JSONStep: Equatable, CustomStringConvertible {
    case key(String)
    case index(Int)

    var description: String {
        switch self {
        case .key(let key): key
        case .index(let index): "[\(index)]"
        }
    }
}

extension [JSONStep] {
    /// What a message about this place mentions at least: the last name on the way, without indices.
    var spokenTail: String {
        for step in reversed() {
            if case .key(let key) = step { return key }
        }
        return ""
    }
}

extension JSONValue {
    /// The paths of all values that contain no others.
    func leaves() -> [[JSONStep]] {
        switch self {
        case .object(let members): members.flatMap { key, value in value.leaves().map { [.key(key)] + $0 } }
        case .array(let elements): elements.enumerated().flatMap { index, value in value.leaves().map { [.index(index)] + $0 } }
        default: [[]]
        }
    }

    /// The document with another value at a path, or with none.
    func replacing(_ path: ArraySlice<JSONStep>, with value: JSONValue?) -> JSONValue {
        guard let step = path.first else { return value ?? .null }
        switch (self, step) {
        case (.object(var members), .key(let key)):
            if path.count == 1 {
                members[key] = value
            } else if let inner = members[key] {
                members[key] = inner.replacing(path.dropFirst(), with: value)
            }
            return .object(members)
        case (.array(var elements), .index(let index)) where elements.indices.contains(index):
            if path.count == 1, value == nil {
                elements.remove(at: index)
            } else {
                elements[index] = elements[index].replacing(path.dropFirst(), with: value)
            }
            return .array(elements)
        default: return self
        }
    }
}
