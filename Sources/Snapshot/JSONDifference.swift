public import Schema

/// One place at which two documents differ.
public struct JSONDifference: Sendable, Equatable {
    /// The JSON path; empty for the documents themselves.
    public let path: String
    /// What stands there in the first; nil when nothing does.
    public let old: JSONValue?
    /// What stands there in the second; nil when nothing does.
    public let new: JSONValue?

    /// All places at which two documents differ, as deep as they can be told apart, in the order of the keys.
    public static func between(_ old: JSONValue, _ new: JSONValue, path: String = "") -> [JSONDifference] {
        switch (old, new) {
        case (.object(let before), .object(let after)):
            return Set(before.keys).union(after.keys).sorted().flatMap { key -> [JSONDifference] in
                let place = path.isEmpty ? key : "\(path).\(key)"
                guard let first = before[key], let second = after[key] else {
                    return [JSONDifference(path: place, old: before[key], new: after[key])]
                }
                return between(first, second, path: place)
            }
        case (.array(let before), .array(let after)) where before.count == after.count:
            return zip(before, after).enumerated().flatMap { between($1.0, $1.1, path: "\(path)[\($0)]") }
        default:
            guard old != new else { return [] }
            return bytes(old, new, path: path) ?? [JSONDifference(path: path, old: old, new: new)]
        }
    }

    /// The most bytes of a blob that are told one by one.
    private static let mostBytes = 64

    /// The bytes at which two blobs of the kernel's differ, when they are few: `…lapic.base64[0x210]`, 0x0, 0x4. Nil for anything else.
    private static func bytes(_ old: JSONValue, _ new: JSONValue, path: String) -> [JSONDifference]? {
        guard path.hasSuffix(".base64"), let before = old.base64Bytes, let after = new.base64Bytes, before.count == after.count else {
            return nil
        }
        let places = before.indices.filter { before[$0] != after[$0] }
        guard places.count <= mostBytes else { return nil }
        return places.map { place in
            JSONDifference(
                path: "\(path)[0x\(String(place, radix: 16))]", old: .hex(UInt64(before[place])), new: .hex(UInt64(after[place])))
        }
    }
}
