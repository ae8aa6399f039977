import Schema
import TestSupport
import Testing

/// What a text says, or the sentence that refuses it.
private func decode(_ text: String) -> Result<JSONValue, ConfigError> { decode(Array(text.utf8)) }

private func decode(_ bytes: [UInt8]) -> Result<JSONValue, ConfigError> {
    do throws(ConfigError) { return .success(try JSONText.decode(bytes)) } catch { return .failure(error) }
}

private func refusal(_ bytes: [UInt8]) -> String? {
    guard case .failure(let error) = decode(bytes) else { return nil }
    return error.description
}

struct JSONTextTests {
    @Test(
        "values are read as RFC 8259 writes them",
        arguments: [
            ("null", .null), (" true\r\n", true), ("\tfalse", false), ("[]", []), ("{ }", [:]), ("[ 1 ,2]", [1, 2]),
            ("{\"a\": {\"b\": [null]}}", ["a": ["b": [.null]]]),
            ("0", 0), ("-0", 0), ("-7", -7), ("9223372036854775807", .integer(.max)), ("-9223372036854775808", .integer(.min)),
            ("9223372036854775808", .number(9_223_372_036_854_775_808)), ("-9223372036854775809", .number(-9_223_372_036_854_775_808)),
            ("18446744073709551616", .number(18_446_744_073_709_551_616)),
            ("1.0", .number(1)), ("1e2", .number(100)), ("1E+2", .number(100)), ("25e-1", .number(2.5)), ("-0.5", .number(-0.5)),
            ("0.1", .number(0.1)), ("1e-400", .number(0)),
            ("\"\"", ""), ("\"a/b\"", "a/b"), ("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\u{8}\u{c}\n\r\t"),
            ("\"\\u0041\\u00e9\\u20AC\\u0000x\"", "A\u{e9}\u{20ac}\0x"), ("\"\\ud83d\\uDE00!\"", "\u{1f600}!"),
            ("\"\\uD800\\uDC00\\uDBFF\\uDFFF\"", "\u{10000}\u{10ffff}"),
            ("\"\u{e9}\u{20ac}\u{1f600}\u{7f}\"", "\u{e9}\u{20ac}\u{1f600}\u{7f}"),
            ("{\"kern\\u0065l\": 1}", ["kernel": 1]),
        ] as [(String, JSONValue)])
    func values(text: String, value: JSONValue) throws {
        #expect(try JSONText.decode(Array(text.utf8)) == value)
    }

    @Test(
        "broken texts are refused with their place",
        arguments: [
            ("", "line 1, column 1: the file ends too early."),
            ("\n  ", "line 2, column 3: the file ends too early."),
            ("{\"boot\": {}, \"name\": \"a\", \"name\": \"b\"}", "name: the key stands here twice."),
            ("{\"boot\": {\"kernel\": \"a\", \"kern\\u0065l\": \"b\"}}", "boot.kernel: the key stands here twice."),
            ("[1, {\"a\": [{\"b\": 1, \"b\": 2}]}]", "[1].a[0].b: the key stands here twice."),
            ("{\n  \"boot\": {\n    \"kernel\" \"x\"\n  }\n}", "line 3, column 14: expected ':' after the key."),
            ("{\"devices\": [1, 2,, 3]}", "line 1, column 19: expected a value."),
            ("{} x", "line 1, column 4: expected the end of the file."),
            ("{a: 1}", "line 1, column 2: expected a key in double quotes."),
            ("{\"a\": 1,}", "line 1, column 9: expected a key in double quotes."),
            ("{\"a\": 1 \"b\": 2}", "line 1, column 9: expected ',' or '}'."),
            ("[1 2]", "line 1, column 4: expected ',' or ']'."),
            ("[1,]", "line 1, column 4: expected a value."),
            ("[1", "line 1, column 3: expected ',' or ']'."),
            ("nul", "line 1, column 1: expected a value."),
            ("True", "line 1, column 1: expected a value."),
            ("NaN", "line 1, column 1: expected a value."),
            ("'a'", "line 1, column 1: expected a value."),
            ("// a", "line 1, column 1: expected a value."),
            ("\u{feff}1", "line 1, column 1: expected a value."),
            ("+1", "line 1, column 1: expected a value."),
            (".5", "line 1, column 1: expected a value."),
            ("-", "line 1, column 2: expected a digit."),
            ("-a", "line 1, column 2: expected a digit."),
            ("1.", "line 1, column 3: expected a digit."),
            ("1.e5", "line 1, column 3: expected a digit."),
            ("1e", "line 1, column 3: expected a digit."),
            ("1e+-5", "line 1, column 4: expected a digit."),
            ("01", "line 1, column 2: a number has no leading zeros."),
            ("-00", "line 1, column 3: a number has no leading zeros."),
            ("0x10", "line 1, column 2: expected the end of the file."),
            ("[1e999]", "line 1, column 2: the number is out of range."),
            ("-1e999", "line 1, column 1: the number is out of range."),
            ("\"a", "line 1, column 3: the string does not end."),
            ("\"a\\", "line 1, column 4: the string does not end."),
            ("\"a\nb\"", "line 1, column 3: control characters in strings must be escaped."),
            ("\"ab\\x\"", "line 1, column 4: the string has a bad escape."),
            ("\"\\u12g4\"", "line 1, column 2: the string has a bad escape."),
            ("\"\\u12", "line 1, column 2: the string has a bad escape."),
            ("\"x\\ud800\"", "line 1, column 3: the string has half of a surrogate pair."),
            ("\"\\udc00\"", "line 1, column 2: the string has half of a surrogate pair."),
            ("\"\\ud800\\ud800\"", "line 1, column 2: the string has half of a surrogate pair."),
            ("\"\\ud800x\"", "line 1, column 2: the string has half of a surrogate pair."),
            ("[" + String(repeating: "[", count: 100_000), "line 1, column 65: nested deeper than 64 levels."),
            (String(repeating: "{\"a\":", count: 100_000), "line 1, column 321: nested deeper than 64 levels."),
        ])
    func brokenTexts(text: String, sentence: String) {
        #expect(refusal(Array(text.utf8)) == sentence)
    }

    @Test(
        "text that is no UTF-8 is refused where it begins to be none, with escapes around it and without",
        arguments: [[0xff], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82], [0xf5, 0x80, 0x80, 0x80], [0x80]] as [[UInt8]])
    func invalidUTF8(bad: [UInt8]) {
        let quote = UInt8(ascii: "\"")
        #expect(refusal([quote, 0x61] + bad + [quote]) == "line 1, column 3: the string is not UTF-8.")
        #expect(refusal(Array("\"\\n\u{e9}".utf8) + bad + Array("\\t\"".utf8)) == "line 1, column 6: the string is not UTF-8.")
        #expect(refusal(Array("{\n\"".utf8) + bad + Array("\": 1}".utf8)) == "line 2, column 2: the string is not UTF-8.")
        #expect(refusal(bad) == "line 1, column 1: expected a value.")
    }

    @Test("a duplicate key is found among few keys and among many", arguments: [2, 32, 33, 34, 80])
    func duplicateAmongMany(count: Int) {
        for duplicate in [0, count - 1] {
            let keys = (0..<count).map { "k\($0)" } + ["k\(duplicate)"]
            let text = "{\(keys.map { "\"\($0)\": 1" }.joined(separator: ","))}"
            #expect(refusal(Array(text.utf8)) == "k\(duplicate): the key stands here twice.")
        }
    }

    @Test("keys that Swift's strings hold for equal are duplicates: none is dropped silently")
    func equivalentKeys() {
        #expect(refusal(Array("{\"\u{e9}\": 1, \"e\\u0301\": 2}".utf8))?.hasSuffix(": the key stands here twice.") == true)
    }

    @Test("a text is laid out for a reader: sorted keys, and arrays of scalars on one line")
    func layout() {
        let value: JSONValue = [
            "b": [1, true, .null, "a/b", .number(0.5)], "a": [:], "Z": [["x": 1], []], "e": [],
            "c": ["y": [[1, 2], [3]], "x": "\u{1}\u{1f}\""],
        ]
        #expect(
            JSONText.encode(value) == """
                {
                  "Z": [
                    {
                      "x": 1
                    },
                    []
                  ],
                  "a": {},
                  "b": [1, true, null, "a/b", 0.5],
                  "c": {
                    "x": "\\u0001\\u001f\\"",
                    "y": [
                      [1, 2],
                      [3]
                    ]
                  },
                  "e": []
                }

                """)
        #expect(
            JSONText.encode(value, compact: true)
                == "{\"Z\":[{\"x\":1},[]],\"a\":{},\"b\":[1,true,null,\"a/b\",0.5],\"c\":{\"x\":\"\\u0001\\u001f\\\"\",\"y\":[[1,2],[3]]},\"e\":[]}\n"
        )
        #expect(JSONText.encode(.number(.infinity)) == "null\n")
    }

    @Test("a long array of scalars is broken into lines that are full and not too long", arguments: [1, 40, 46, 47, 48, 100, 500])
    func longArrays(count: Int) throws {
        let value: JSONValue = [
            "bytes": .bytes([UInt8](repeating: 7, count: count)), "words": .array(Array(repeating: "0123456789", count: count)),
        ]
        let text = JSONText.encode(value)
        let lines = text.split(separator: "\n")
        #expect(lines.allSatisfy { $0.utf8.count <= 140 })
        // Only a line that closes something may be short.
        let full = zip(lines, lines.dropFirst()).filter { $0.0.hasSuffix(",") && $0.0.hasPrefix("    ") && !$0.1.hasSuffix("]") }
        #expect(full.allSatisfy { $0.0.utf8.count > 125 })
        #expect(count < 100 || full.count > 5)
        #expect(try JSONText.decode(Array(text.utf8)) == value)
    }

    @Test("what is encoded decodes to the same value, whatever it is", arguments: 0..<300 as Range<UInt64>)
    func roundTrip(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let value = JSONValue.random(depth: 5, &random)
        for compact in [false, true] {
            let text = JSONText.encode(value, compact: compact)
            let again = try JSONText.decode(Array(text.utf8))
            #expect(again == value)
            #expect(JSONText.encode(again, compact: compact) == text)
            #expect(text.hasSuffix("\n") && (!compact || text.utf8.count { $0 == 0x0a } == 1))
        }
    }

    @Test("a text that was cut short is refused at every length")
    func truncations() {
        var random = SeededRandom(seed: 7)
        for _ in 0..<40 {
            let value: JSONValue = ["a": .random(depth: 4, &random)]
            let bytes = Array(JSONText.encode(value, compact: Bool.random(using: &random)).utf8)
            for count in 0..<bytes.count - 1 where refusal(Array(bytes[..<count])) == nil { Issue.record("\(count) bytes of \(value)") }
        }
    }

    @Test("flipped bits never crash the decoder, and what it then takes is a value like any other", arguments: 0..<30 as Range<UInt64>)
    func bitFlips(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let bytes = Array(JSONText.encode(.random(depth: 5, &random)).utf8)
        for _ in 0..<300 {
            var damaged = bytes
            for _ in 0...random.next() % 3 {
                damaged[Int(random.next() % UInt64(bytes.count))] ^= 1 << UInt8(random.next() % 8)
            }
            switch decode(damaged) {
            case .success(let value): #expect(try JSONText.decode(Array(JSONText.encode(value).utf8)) == value)
            case .failure(let error): #expect(!error.path.isEmpty && error.message.hasSuffix("."))
            }
        }
    }
}

extension JSONValue {
    /// Any value, nested at most `depth` deep.
    static func random(depth: Int, _ random: inout SeededRandom) -> JSONValue {
        switch random.next() % (depth > 0 ? 9 : 6) {
        case 0: return .null
        case 1: return .bool(random.next() % 2 == 0)
        case 2: return .integer(Int64(truncatingIfNeeded: random.next()) >> Int64(random.next() % 64))
        case 3:
            let number = Double(bitPattern: random.next())
            return .number(number.isFinite ? number : 0.5)
        case 4: return .hex(random.next())
        case 5: return .string(text(&random))
        case 6: return .array((0..<random.next() % 60).map { _ in .integer(Int64(random.next() % 256)) })
        case 7: return .array((0..<random.next() % 6).map { _ in .random(depth: depth - 1, &random) })
        default:
            var members: [String: JSONValue] = [:]
            for _ in 0..<random.next() % 6 { members[text(&random)] = .random(depth: depth - 1, &random) }
            return .object(members)
        }
    }

    private static func text(_ random: inout SeededRandom) -> String {
        var text = ""
        for _ in 0..<random.next() % 12 {
            let limits: [UInt32] = [0x20, 0x7f, 0x7f, 0x7f, 0x800, 0x1_0000, 0x11_0000]
            let limit = limits[Int(random.next() % UInt64(limits.count))]
            text.unicodeScalars.append(Unicode.Scalar(UInt32(random.next() % UInt64(limit))) ?? "\\")
        }
        return text
    }
}
