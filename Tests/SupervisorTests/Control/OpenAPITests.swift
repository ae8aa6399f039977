import Foundation
import Schema
import Synchronization
import Testing

@testable import Supervisor

@Suite("Control socket, document")
struct OpenAPITests {
    private let document: JSONValue
    private let paths: [String: JSONValue]

    init() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../../Docs/openapi.json")
        document = try JSONText.decode(Array(try Data(contentsOf: file)))
        paths = try #require(document.member("paths")?.members)
    }

    /// The schema with every reference replaced by what it names.
    private func resolved(_ schema: JSONValue) throws -> JSONValue {
        switch schema {
        case .object(let members):
            if case .string(let reference)? = members["$ref"] {
                var target = document
                for part in reference.split(separator: "/").dropFirst() { target = try #require(target.member(String(part))) }
                return try resolved(target)
            }
            return .object(try members.mapValues { try resolved($0) })
        case .array(let elements): return .array(try elements.map { try resolved($0) })
        default: return schema
        }
    }

    private func responseSchema(_ method: String, _ path: String, _ status: Int) throws -> JSONValue {
        let responses = try #require(paths[path]?.member(method.lowercased())?.member("responses"))
        let response = try resolved(try #require(responses.member("\(status)"), "\(method) \(path) \(status)"))
        return try #require(response.member("content")?.members?.values.first?.member("schema"))
    }

    @Test("Every path, method and status of the router is in the document, and nothing else")
    func routes() throws {
        var routed: Set<String> = []
        for route in ControlRoute.all {
            for status in route.statuses + ControlRoute.everywhere { routed.insert("\(route.method) \(route.path) \(status)") }
        }
        var documented: Set<String> = []
        for (path, item) in paths {
            for (method, operation) in try #require(item.members) {
                for status in try #require(operation.member("responses")?.members).keys {
                    documented.insert("\(method.uppercased()) \(path) \(status)")
                }
            }
        }
        #expect(routed.subtracting(documented).sorted() == [], "these are not in the document")
        #expect(documented.subtracting(routed).sorted() == [], "these are not in the router")
    }

    @Test("The schemas of requests are those of the decoder")
    func requests() throws {
        func same<Value>(_ name: String, _ read: (ObjectReader) throws(ConfigError) -> Value) throws {
            var generated = try #require(try ConfigDocument.schema(title: name, read).members)
            generated["$schema"] = nil
            generated["title"] = nil
            #expect(document.member("components")?.member("schemas")?.member(name) == .object(generated), "\(name)")
        }
        try same("SnapshotRequest", SnapshotRequest.init)
        try same("StopRequest", StopRequest.init)
        try same("Empty", EmptyRequest.init)
    }

    @Test("Real answers satisfy the schemas of the document")
    func answers() throws {
        let rig = try ControlRig()
        let bodies = ["/v1/vm/snapshot": #"{"directory": "/s"}"#]
        for route in ControlRoute.all where route.path != "/v1/events" {
            let path = route.path.replacingOccurrences(of: "{id}", with: "disk")
            let good = try rig.ask(route.method, path, bodies[path])
            #expect((200...299).contains(good.status) && route.statuses.contains(good.status), "\(path)")
            #expect(try SchemaValidator.accepts(good.json(), responseSchema(route.method, route.path, good.status)), "\(path)")
            let bad = try rig.ask(route.method, path, "{}", headers: ["Content-Encoding: gzip"])
            #expect(bad.status == 415)
            #expect(try SchemaValidator.accepts(bad.json(), responseSchema(route.method, route.path, bad.status)), "\(path)")
        }
        let missing = try rig.ask("GET", "/v1/devices/nothing")
        #expect(try SchemaValidator.accepts(missing.json(), responseSchema("GET", "/v1/devices/{id}", missing.status)))
        for route in ControlRoute.all where route.method == "POST" {
            let stranger = try rig.ask("POST", route.path, #"{"stranger": 1}"#)
            #expect(stranger.status == 422)
            #expect(try SchemaValidator.accepts(stranger.json(), responseSchema("POST", route.path, 422)), "\(route.path)")
            for code in [ExitCode.resource, .failure] where route.statuses.contains(500) {
                rig.vm.state.withLock { $0.error = VMError(code, "It cannot be done.") }
                let refused = try rig.ask("POST", route.path, bodies[route.path])
                #expect(try SchemaValidator.accepts(refused.json(), responseSchema("POST", route.path, refused.status)), "\(route.path)")
            }
            rig.vm.state.withLock { $0.error = nil }
        }
    }

    @Test("Real events satisfy the schema of the document")
    func events() throws {
        let rig = try ControlRig()
        let client = try rig.connect()
        try client.send(request("GET", "/v1/events"))
        let schema = try responseSchema("GET", "/v1/events", 200)
        #expect(try SchemaValidator.accepts(client.event(), schema))
        rig.hub.publishState("asleep")
        rig.hub.publishPanic()
        rig.hub.publishDeviceError(id: "disk", message: "It broke.")
        for _ in 0..<3 { #expect(try SchemaValidator.accepts(client.event(), schema)) }
    }

    @Test("A wrong answer would be noticed: the schemas refuse what is one step away")
    func schemasRefuse() throws {
        let vm = FakeVM()
        for (path, value) in [("/v1/vm", vm.info()), ("/v1/devices/{id}", vm.devices()[0])] {
            let schema = try responseSchema("GET", path, 200)
            let members = try #require(value.members)
            for key in members.keys {
                #expect(try !SchemaValidator.accepts(.object(members.filter { $0.key != key }), schema), "\(path) without \(key)")
                #expect(try !SchemaValidator.accepts(.object(members.merging([key: .null]) { $1 }), schema), "\(path) with null \(key)")
            }
        }
    }
}

extension JSONValue {
    var members: [String: JSONValue]? {
        guard case .object(let members) = self else { return nil }
        return members
    }
}
