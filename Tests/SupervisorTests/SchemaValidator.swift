import Schema

/// A validator for the part of JSON Schema (draft 2020-12) that our schema uses: an opinion that is independent of the decoder.
struct SchemaValidator {
    /// Whether `value` satisfies `schema`. A keyword that this validator does not know is an error of the test.
    static func accepts(_ value: JSONValue, _ schema: JSONValue) throws -> Bool {
        guard case .object(let rules) = schema else { throw UnknownKeyword(name: "\(schema)") }
        for (keyword, rule) in rules where try !accepts(value, keyword, rule, rules) { return false }
        return true
    }

    struct UnknownKeyword: Error { let name: String }

    private static func accepts(_ value: JSONValue, _ keyword: String, _ rule: JSONValue, _ rules: [String: JSONValue]) throws -> Bool {
        switch (keyword, rule, value) {
        case ("$schema", _, _), ("title", _, _), ("description", _, _), ("default", _, _): return true
        case ("type", .string(let name), _): return type(of: value) == name || (name == "number" && type(of: value) == "integer")
        case ("const", _, _): return value == rule
        case ("enum", .array(let choices), _): return choices.contains(value)
        case ("oneOf", .array(let schemas), _): return try schemas.count { try accepts(value, $0) } == 1
        case ("minimum", .integer(let bound), .integer(let number)): return number >= bound
        case ("maximum", .integer(let bound), .integer(let number)): return number <= bound
        case ("multipleOf", .integer(let unit), .integer(let number)): return number % unit == 0
        case ("pattern", .string(let pattern), .string(let text)): return try text.contains(Regex(pattern))
        case ("required", .array(let keys), .object(let members)):
            return keys.allSatisfy { key in
                guard case .string(let name) = key else { return false }
                return members[name] != nil
            }
        case ("properties", .object(let schemas), .object(let members)):
            return try members.allSatisfy { key, member in try schemas[key].map { try accepts(member, $0) } ?? true }
        case ("additionalProperties", .bool(false), .object(let members)):
            guard case .object(let known)? = rules["properties"] else { return members.isEmpty }
            return members.keys.allSatisfy { known[$0] != nil }
        case ("items", _, .array(let elements)): return try elements.allSatisfy { try accepts($0, rule) }
        case ("minimum", _, _), ("maximum", _, _), ("multipleOf", _, _), ("pattern", _, _), ("required", _, _), ("properties", _, _),
            ("additionalProperties", _, _), ("items", _, _):
            return true
        default: throw UnknownKeyword(name: keyword)
        }
    }

    private static func type(of value: JSONValue) -> String {
        switch value {
        case .null: "null"
        case .bool: "boolean"
        case .integer: "integer"
        case .number: "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }
}

/// Every document that differs from `value` in one place: a member removed, added or replaced by something of another type or range.
func neighbours(of value: JSONValue) -> [JSONValue] {
    var strangers: [JSONValue] = [
        .null, true, 0, -1, 7, 1_000_000, .number(0.5), "", "x", "tap", "pci", "512M", [], ["x"], [:], ["fd": 4], ["tap": "t"],
    ]
    strangers.removeAll { $0 == value }
    switch value {
    case .object(let members):
        for (key, member) in members {
            var without = members
            without[key] = nil
            strangers.append(.object(without))
            for other in neighbours(of: member) {
                var changed = members
                changed[key] = other
                strangers.append(.object(changed))
            }
        }
        strangers.append(.object(members.merging(["stranger": 1]) { $1 }))
    case .array(let elements):
        for (index, element) in elements.enumerated() {
            for other in neighbours(of: element) {
                var changed = elements
                changed[index] = other
                strangers.append(.array(changed))
            }
        }
    default: break
    }
    return strangers
}
