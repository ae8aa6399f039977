public import Schema

extension JSONValue {
    /// Every value of the document with its path, this one first; members sorted by key.
    public func places(below path: JSONPath = JSONPath()) -> [(path: JSONPath, value: JSONValue)] {
        let here = [(path: path, value: self)]
        switch self {
        case .object(let members):
            return members.sorted { $0.key < $1.key }.reduce(into: here) { $0 += $1.value.places(below: path.appending(.key($1.key))) }
        case .array(let elements):
            return elements.enumerated().reduce(into: here) { $0 += $1.element.places(below: path.appending(.index($1.offset))) }
        default: return here
        }
    }

    /// The document with another value at a path, or with none: a member that is not there yet is added. A path that leads nowhere
    /// changes nothing.
    public func replacing(_ path: JSONPath, with value: JSONValue?) -> JSONValue { replacing(path.steps[...], with: value) }

    private func replacing(_ steps: ArraySlice<JSONPath.Step>, with value: JSONValue?) -> JSONValue {
        guard let step = steps.first else { return value ?? .null }
        switch (self, step) {
        case (.object(var members), .key(let key)):
            if steps.count == 1 {
                members[key] = value
            } else if let inner = members[key] {
                members[key] = inner.replacing(steps.dropFirst(), with: value)
            }
            return .object(members)
        case (.array(var elements), .index(let index)) where elements.indices.contains(index):
            if steps.count == 1, value == nil {
                elements.remove(at: index)
            } else {
                elements[index] = elements[index].replacing(steps.dropFirst(), with: value)
            }
            return .array(elements)
        default: return self
        }
    }
}
