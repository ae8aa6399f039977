import TestSupport
import Testing

@testable import Schema

/// A saved state that has every kind of field.
private struct Sample: Equatable {
    enum Mode: String, CaseIterable { case slow, fast }
    let on: Bool
    let mode: Mode
    let level: UInt8
    let offset: Int64
    let address: UInt64
    let narrow: UInt64
    let name: String
    let bytes: [UInt8]
    let held: [UInt8]?
    let blob: [UInt8]
    let pins: [UInt16]
    let inner: Bool

    init(_ saved: SavedValue) throws(StateError) {
        self = try saved.read { (fields) throws(StateError) in try Sample(&fields) }
    }

    private init(_ fields: inout StateFields) throws(StateError) {
        on = try fields.bool("on")
        mode = try fields.choice("mode")
        level = try fields.integer("level")
        offset = try fields.integer("offset", in: -10...10)
        address = try fields.hex("address")
        narrow = try fields.hex("narrow", upTo: 0xfff)
        name = try fields.string("name")
        bytes = try fields.bytes("bytes", count: 1...4)
        held = try fields.optional("held") { (held) throws(StateError) in try held.bytes(count: 2...2) }
        blob = try fields.base64("blob", size: 0...8)
        pins = try fields.array("pins", count: 2...2) { (pin) throws(StateError) in
            try pin.read { (fields) throws(StateError) in try fields.integer("vector", in: 1...0xffff) }
        }
        inner = try fields.object("inner") { (fields) throws(StateError) in try fields.bool("deep") }
    }

    static let good: JSONValue = [
        "on": true, "mode": "fast", "level": 200, "offset": -3, "address": "0xffffffffffffffff", "narrow": "0xfff", "name": "n",
        "bytes": [1, 2], "held": [3, 4], "blob": .base64([5, 6, 7, 8]), "pins": [["vector": 9], ["vector": 10]],
        "inner": ["deep": false],
    ]
}

private func refusal(_ document: JSONValue) -> String? {
    do throws(StateError) {
        _ = try Sample(SavedValue(document))
        return nil
    } catch { return error.description }
}

struct SavedValueTests {
    @Test("every kind of field is read, and null where it may stand")
    func reads() throws {
        let sample = try Sample(SavedValue(Sample.good))
        #expect(sample.address == .max && sample.bytes == [1, 2] && sample.held == [3, 4] && sample.blob == [5, 6, 7, 8])
        #expect(sample.pins == [9, 10] && sample.mode == .fast && sample.offset == -3)
        #expect(try Sample(SavedValue(Sample.good.replacing("held", with: .null))).held == nil)
    }

    @Test(
        "each refusal is one sentence with the path and what was expected",
        arguments: [
            ("on", 1, "on: expected true or false, found 1."),
            ("on", nil, "on: expected true or false, found nothing."),
            ("mode", "medium", "mode: expected one of slow, fast, found \"medium\"."),
            ("level", 256, "level: expected an integer from 0 to 255, found 256."),
            ("level", -1, "level: expected an integer from 0 to 255, found -1."),
            ("level", .number(1), "level: expected an integer from 0 to 255, found 1.0."),
            ("offset", 11, "offset: expected an integer from -10 to 10, found 11."),
            ("address", 5, "address: expected a hexadecimal number of 64 bits, found 5."),
            ("address", "0x", "address: expected a hexadecimal number of 64 bits, found \"0x\"."),
            ("address", "1f", "address: expected a hexadecimal number of 64 bits, found \"1f\"."),
            ("address", "0x+1", "address: expected a hexadecimal number of 64 bits, found \"0x+1\"."),
            ("address", "0x10000000000000000", "address: expected a hexadecimal number of 64 bits, found \"0x10000000000000000\"."),
            ("narrow", "0x1000", "narrow: expected a hexadecimal number up to 0xfff, found \"0x1000\"."),
            ("name", .null, "name: expected a string, found null."),
            ("bytes", [], "bytes: expected an array of 1 to 4 elements, found 0."),
            ("bytes", [1, 256], "bytes[1]: expected an integer from 0 to 255, found 256."),
            ("bytes", "x", "bytes: expected an array of 1 to 4 elements, found \"x\"."),
            ("held", [1], "held: expected an array of 2 elements or null, found 1."),
            ("held", true, "held: expected an array of 2 elements or null, found true."),
            ("held", nil, "held: expected an array of 2 elements or null, found nothing."),
            ("blob", "BQYH", "blob: expected an object, found \"BQYH\"."),
            ("blob", ["size": 9, "base64": ""], "blob.size: expected an integer from 0 to 8, found 9."),
            ("blob", ["size": 3, "base64": "BQYHCA=="], "blob.base64: expected 3 bytes, as size says, found 4."),
            ("blob", ["size": 4, "base64": "BQYHCA"], "blob.base64: expected text in base64 with its padding."),
            (
                "blob", ["size": 0, "base64": "", "more": 1],
                "blob.more: expected no field of this name; known here: base64, size."
            ),
            ("pins", [["vector": 1]], "pins: expected an array of 2 elements, found 1."),
            ("pins", [["vector": 1], ["vector": 0]], "pins[1].vector: expected an integer from 1 to 65535, found 0."),
            ("pins", [["vector": 1], 7], "pins[1]: expected an object, found 7."),
            ("pins", [["vector": 1, "x": 1], ["vector": 1]], "pins[0].x: expected no field of this name; known here: vector."),
            ("inner", ["deep": "no"], "inner.deep: expected true or false, found \"no\"."),
            ("inner", [:], "inner.deep: expected true or false, found nothing."),
            ("inner", [], "inner: expected an object, found an array."),
        ] as [(String, JSONValue?, String)])
    func refusals(key: String, value: JSONValue?, sentence: String) {
        #expect(refusal(Sample.good.replacing(JSONPath([.key(key)]), with: value)) == sentence)
    }

    @Test("every mutation of a document is refused with the path of the place")
    func everyMutation() {
        let all = mutations(of: Sample.good)
        #expect(Set(all.map { $0.kind }) == Set(Mutation.Kind.allCases))
        #expect(Set(all.map { "\($0)" }).count == all.count && all.allSatisfy { $0.document != Sample.good })
        for mutation in all {
            switch (mutation.kind, "\(mutation.path)") {
            // What these fields may well be.
            case (.shortened, "bytes[0]"), (.shortened, "bytes[1]"), (.negative, "offset"), (.emptyString, "name"):
                #expect(refusal(mutation.document) == nil, "\(mutation)")
            default:
                let error = #expect(throws: StateError.self, "\(mutation)") { try Sample(SavedValue(mutation.document)) }
                #expect(error?.path == mutation.blamed, "\(mutation)")
            }
        }
    }

    @Test("paths begin where the document does")
    func roots() throws {
        let document: JSONValue = ["devices": ["b": [:], "a": 5]]
        let devices = try SavedValue(document, path: "state").read { (fields) throws(StateError) in try fields["devices"].members() }
        #expect(devices.map { $0.key } == ["a", "b"])
        try devices[1].value.expectEmpty()
        let error = #expect(throws: StateError.self) { try devices[0].value.expectEmpty() }
        #expect(error?.description == "state.devices.a: expected an object, found 5.")
        #expect(throws: StateError(path: "", expectation: "an object, found 7")) { try SavedValue(7).expectEmpty() }
        #expect(throws: StateError(path: "x", expectation: "no field of this name; known here: none")) {
            try SavedValue(["x": 1]).expectEmpty()
        }
        #expect(devices[0].value.error(expected: "nothing of the kind").description == "state.devices.a: expected nothing of the kind.")
        #expect(try devices[0].value.value() == 5)
    }

    @Test(
        "base64 is that of RFC 4648",
        arguments: [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
        ])
    func base64(plain: String, coded: String) {
        #expect(Base64.encode(Array(plain.utf8)) == coded)
        #expect(Base64.decode(coded) == Array(plain.utf8))
    }

    @Test("bytes of any length survive base64")
    func base64RoundTrip() throws {
        var random = SeededRandom(seed: 64)
        for count in 0..<200 {
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            #expect(try SavedValue(.base64(bytes)).base64(size: count...count) == bytes)
        }
    }

    @Test(
        "what no encoder of base64 writes is refused",
        arguments: [
            "Zg", "Zg=", "Zg===", "Z===", "====", "=", "Zh==", "Zm9=", "Zg==Zg==", "Zm=v", "Zm9v\n", " Zm9v", "Zm9-", "Zm9_", "Zm9\u{e9}",
            "Zm8=Zm8=", "Zg=v",
        ])
    func badBase64(text: String) {
        #expect(Base64.decode(text) == nil)
    }
}
