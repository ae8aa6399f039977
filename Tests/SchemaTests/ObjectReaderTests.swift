import Testing

@testable import Schema

/// One small configuration type that has every kind of field.
private struct Sample: Equatable {
    enum Mode: String, CaseIterable { case slow, fast }
    let on: Bool
    let count: Int64
    let name: String
    let mode: Mode
    let size: UInt64
    let path: String?
    let list: [String]
    let tag: TaggedValue?

    init(_ reader: ObjectReader) throws(ConfigError) {
        on = try reader.bool("on", default: true, doc: "A switch.")
        count = try reader.integer("count", in: 1...8, default: 2, doc: "A count.")
        name = try reader.string("name", rule: .name, doc: "A name.")
        mode = try reader.choice("mode", default: .slow, doc: "A mode.")
        size = try reader.size("size", in: 4096...(1 << 40), multipleOf: 4096, default: "1M", doc: "A size.")
        path = try reader.optionalPath("path", doc: "A path.")
        list = try reader.strings("list", doc: "Words.")
        tag = try reader.optionalTagged(
            "tag", default: "none", doc: "A tag.",
            [TaggedForm("none", doc: "Nothing."), TaggedForm("fd", .integer(0...9), doc: "A number.")])
    }

    static func decode(_ document: JSONValue) throws(ConfigError) -> (value: Sample, resolved: JSONValue) {
        try ConfigDocument.decode(document, resolvePath: { "/base/" + $0 }, Sample.init)
    }
}

struct ObjectReaderTests {
    @Test("defaults are filled in, and the resolved document decodes to the same value")
    func defaultsAndRoundTrip() throws {
        let (value, resolved) = try Sample.decode(["name": "a", "path": "x"])
        #expect(value.on && value.count == 2 && value.mode == .slow && value.size == 1 << 20 && value.path == "/base/x")
        #expect(value.tag == TaggedValue(name: "none", text: nil, number: nil))
        let again = try ConfigDocument.decode(resolved, resolvePath: { $0 }, Sample.init)
        #expect(again.value == value && again.resolved == resolved)
    }

    @Test(
        "each refusal names the path and what was expected",
        arguments: [
            (["name": "a", "on": "yes"], "on: expected true or false, found \"yes\"."),
            (["name": "a", "count": 9], "count: expected an integer from 1 to 8, found 9."),
            (["name": "a", "count": .number(1.5)], "count: expected an integer from 1 to 8, found 1.5."),
            (["name": "-"], "name: expected a name of 1 to 64 letters, digits, '-', '_' or '.', found \"-\"."),
            ([:], "name: is missing: A name."),
            (["name": "a", "mode": "medium"], "mode: expected one of slow, fast, found \"medium\"."),
            (["name": "a", "size": 4097], "size: expected a size from 4K to 1T such as \"512M\", a multiple of 4K, found 4097."),
            (["name": "a", "size": "-1"], "size: expected a size from 4K to 1T such as \"512M\", a multiple of 4K, found \"-1\"."),
            (["name": "a", "list": ["b", 1]], "list[1]: expected a string, found 1."),
            (["name": "a", "tag": ["fd": 10]], "tag: expected one of \"none\", {\"fd\": a number}, found an object."),
            (["name": "a", "nam": "b"], "nam: is not a known key; known here: count, list, mode, name, on, path, size, tag."),
        ] as [(JSONValue, String)])
    func refusals(document: JSONValue, sentence: String) {
        let error = #expect(throws: ConfigError.self) { try Sample.decode(document) }
        #expect(error?.description == sentence)
    }

    @Test("sizes: binary suffixes, overflow and nonsense")
    func sizes() {
        #expect(ByteCount.parse("512M") == 512 << 20)
        #expect(ByteCount.parse("0") == 0)
        #expect(ByteCount.parse("17179869184G") == nil)
        #expect(ByteCount.parse("M") == nil && ByteCount.parse("1m") == nil && ByteCount.parse("") == nil && ByteCount.parse("1.5G") == nil)
        for bytes: UInt64 in [0, 1, 1024, 3 << 20, 5 << 30, 7 << 40, .max] { #expect(ByteCount.parse(ByteCount.format(bytes)) == bytes) }
    }

    @Test("the schema lists every field, its default and its range")
    func schema() throws {
        guard case .object(let schema) = try ConfigDocument.schema(title: "Sample", Sample.init),
            case .object(let fields)? = schema["properties"]
        else { throw ConfigError(path: "", "no object") }
        #expect(Set(fields.keys) == ["count", "list", "mode", "name", "on", "path", "size", "tag"])
        #expect(schema["required"] == ["name"])
        #expect(fields["count"] == ["type": "integer", "minimum": 1, "maximum": 8, "default": 2, "description": "A count."])
    }
}
