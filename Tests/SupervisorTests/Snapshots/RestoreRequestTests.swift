import Devices
import Schema
import TestSupport
import Testing

@testable import Supervisor

@Suite("Overrides of a restore") struct RestoreRequestTests {
    private func request(_ overrides: RestoreRequest.Override?..., name: String? = nil) throws -> RestoreRequest {
        var request = RestoreRequest(directory: "/snapshot")
        request.name = name
        request.overrides = try overrides.map { try #require($0) }
        return request
    }

    private func apply(_ override: RestoreRequest.Override?) throws -> JSONValue {
        try request(override).apply(to: try Golden.document("snapshot/config.json"))
    }

    /// The golden configuration with one place changed.
    private func golden(_ path: [JSONPath.Step], _ value: JSONValue) throws -> JSONValue {
        try Golden.document("snapshot/config.json").replacing(JSONPath(path), with: value)
    }

    @Test("An option is ID=VALUE; any other text is none")
    func syntax() {
        let override = RestoreRequest.Override(.disk, "a=b=c")
        #expect(override?.id == "a" && override?.value == "b=c" && override?.kind == .disk)
        for text in ["", "a", "=b", "a=", "="] { #expect(RestoreRequest.Override(.net, text) == nil, "\(text)") }
    }

    @Test("Nothing asked for changes nothing; a name changes the name")
    func name() throws {
        let document = try Golden.document("snapshot/config.json")
        #expect(try request().apply(to: document) == document)
        #expect(try request(name: "clone").apply(to: document) == document.replacing("name", with: "clone"))
    }

    @Test("A disk's path, absolute")
    func disks() throws {
        let place: [JSONPath.Step] = [.key("devices"), .index(0), .key("path")]
        #expect(try apply(.init(.disk, "disk=/other/./image")) == golden(place, "/other/image"))
        #expect(try apply(.init(.disk, "disk=image")) == golden(place, .string(AbsolutePath.of("image"))))
    }

    @Test("Each form of a network back-end")
    func networks() throws {
        let forms: [(String, JSONValue)] = [
            ("tap7", ["tap": "tap7"]), ("user", "user"), ("fd:9", ["fd": 9]), ("stream:/run/s", ["stream": "/run/s"]),
            ("fd:x", ["tap": "fd:x"]),
        ]
        for (text, backend) in forms {
            #expect(
                try apply(.init(.net, "net0=\(text)")) == golden([.key("devices"), .index(1), .key("backend")], backend), "\(text)")
        }
    }

    @Test("Each form of a console's back-end, and of the serial port's")
    func consoles() throws {
        let forms: [(String, JSONValue)] = [
            ("stdio", "stdio"), ("pty", "pty"), ("null", "null"), ("file:/o", ["file": "/o"]), ("socket:/s", ["socket": "/s"]),
        ]
        for (text, backend) in forms {
            #expect(
                try apply(.init(.console, "con0=\(text)")) == golden([.key("devices"), .index(2), .key("backend")], backend), "\(text)")
            #expect(try apply(.init(.console, "serial=\(text)")) == golden([.key("serial")], ["backend": backend]), "\(text)")
        }
    }

    @Test("An unknown id, and a device of another kind")
    func refusals() throws {
        #expect(
            throws: VMError(
                .usage, "--disk dsik=…: expected the id of a device, one of \"disk\", \"net0\", \"con0\", \"rng0\".")
        ) { _ = try apply(.init(.disk, "dsik=/x")) }
        for (kind, id, type): (RestoreRequest.Override.Kind, String, String) in [
            (.disk, "net0", "net"), (.net, "disk", "block"), (.console, "rng0", "rng"),
        ] {
            let sentence = "--\(kind.rawValue) \(id)=…: expected a device of that kind; \"\(id)\" is of type \(type)."
            #expect(throws: VMError(.usage, sentence)) { _ = try apply(.init(kind, "\(id)=/x")) }
        }
        #expect(throws: VMError.self) { _ = try apply(.init(.disk, "serial=/x")) }
    }

    @Test("What the configuration cannot take shows when it is read, with its path")
    func unreadable() throws {
        let document = try apply(.init(.console, "con0=screen"))
        let error = #expect(throws: VMError.self) { _ = try ConfigFile(document: document, path: "/s/config.json") }
        #expect(error?.message.hasPrefix("/s/config.json: devices[2].backend: expected ") == true)
    }

    @Test("A MAC address that was made from the VM's name stays when the name changes")
    func pinned() throws {
        let document = try golden([.key("devices"), .index(1), .key("mac")], .null)
        guard case .object(var members) = document, case .array(var devices)? = members["devices"], case .object(var net) = devices[1]
        else { throw ConfigError(path: "devices[1]", "expected a device.") }
        net["mac"] = nil
        devices[1] = .object(net)
        members["devices"] = .array(devices)
        let file = try ConfigFile(document: .object(members), path: "config.json")
        let own = MACAddress(derivedFrom: "golden/net0")
        let pinned = file.configuration.pinned(file.resolved)
        #expect(pinned == file.resolved.replacing(JSONPath([.key("devices"), .index(1), .key("mac")]), with: .string("\(own)")))
        let renamed = try ConfigFile(document: try request(name: "clone").apply(to: pinned), path: "config.json").configuration
        guard case .network(let settings) = renamed.devices[1].kind else { throw ConfigError(path: "devices[1]", "expected a net.") }
        #expect(renamed.name == "clone" && settings.mac == "\(own)")
        // One that was given stays as it was.
        let given = try ConfigFile(document: try Golden.document("snapshot/config.json"), path: "config.json")
        #expect(given.configuration.pinned(given.resolved) == given.resolved)
    }

    @Test("A vDPA device has an address of its own: none is made for it, beside which it could not be read again")
    func pinnedForeign() throws {
        let document: JSONValue = [
            "boot": ["kernel": "/k"], "devices": [["id": "net0", "type": "net", "backend": ["vhostVdpa": "/dev/vhost-vdpa-0"]]],
        ]
        let file = try ConfigFile(document: document, path: "config.json")
        let pinned = file.configuration.pinned(file.resolved)
        #expect(pinned == file.resolved)
        #expect(try ConfigFile(document: pinned, path: "config.json").configuration == file.configuration)
    }
}
