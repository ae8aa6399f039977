import Foundation
import Host
import Schema
import Testing

@testable import Supervisor

@Suite("Control socket, bad input")
struct ControlHostilityTests {
    @Test(
        "A malformed request is refused and its connection closed",
        arguments: [
            ("\u{1}\u{2}\u{3}\r\n\r\n", 400), ("GET\r\n\r\n", 400), ("GET /v1/vm\r\n\r\n", 400),
            ("GET /v1/vm HTTP/9.9\r\nHost: h\r\n\r\n", 400), ("GET /v1/vm HTTP/1.1\r\n\r\n", 400),
            ("GET /v1/vm HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400), ("GET /v1/vm HTTP/1.1\r\nHost h\r\n\r\n", 400),
            ("GET /v1/vm HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400),
            ("POST /v1/vm/stop HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
            ("POST /v1/vm/stop HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400),
            ("POST /v1/vm/stop HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
            ("POST /v1/vm/stop HTTP/1.1\r\nHost: h\r\nContent-Length: 70000\r\n\r\n", 413),
            ("POST /v1/vm/stop HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n", 415),
            ("POST /v1/vm/stop HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\nContent-Length: 2\r\n\r\n", 417),
            ("GET /" + String(repeating: "x", count: 40_000) + " HTTP/1.1\r\nHost: h\r\n\r\n", 431),
            ("GET / HTTP/1.1\r\nHost: h\r\nX: " + String(repeating: "x", count: 40_000) + "\r\n\r\n", 431),
            ("GET / HTTP/1.1\r\nHost: h\r\n" + String(repeating: "X: y\r\n", count: 100) + "\r\n", 431),
        ])
    func malformed(text: String, status: Int) throws {
        let rig = try ControlRig()
        let client = try rig.connect()
        try client.send(text)
        let reply = try client.reply()
        #expect(reply.status == status)
        #expect(try reply.error().code == 64)
        #expect(try reply.error().message.hasSuffix("."))
        client.closeOutput()
        #expect(try client.rest().isEmpty)
        #expect(try rig.ask("GET", "/v1/vm").status == 200)
        #expect(rig.vm.log.isEmpty)
    }

    @Test("Bodies that are too long are refused wherever that shows, and the client gets to read why")
    func oversizedBody() throws {
        let rig = try ControlRig()
        let client = try rig.connect()
        try client.send("POST /v1/vm/stop HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        let chunk = "4000\r\n" + String(repeating: " ", count: 0x4000) + "\r\n"
        for _ in 0..<5 { try client.send(chunk) }
        #expect(try client.reply().status == 413)
        client.closeOutput()
        #expect(try client.rest().isEmpty)
        let padded = "{\"force\": true" + String(repeating: " ", count: (64 << 10) - 15) + "}"
        #expect(padded.utf8.count == 64 << 10)
        #expect(try rig.ask("POST", "/v1/vm/stop", padded).status == 202)
        #expect(rig.vm.log == ["stop true"])
    }

    @Test(
        "Bodies that are no command are refused with the place",
        arguments: [
            ("/v1/vm/stop", "{", 400, "The body cannot be read: line 1, column 2: expected a key in double quotes."),
            ("/v1/vm/stop", "[]", 422, "The body cannot be used: expected an object, found an array."),
            ("/v1/vm/stop", #"{"force": 1}"#, 422, "The body cannot be used: force: expected true or false, found 1."),
            ("/v1/vm/sleep", #"{"now": 1}"#, 422, "The body cannot be used: now: is not a known key; none is known here."),
            (
                "/v1/vm/snapshot", "", 422,
                "The body cannot be used: directory: is missing: The directory that will hold the snapshot, absolute."
            ),
            (
                "/v1/vm/snapshot", #"{"directory": "s"}"#, 422,
                "The body cannot be used: directory: expected an absolute path, found \"s\"."
            ),
            (
                "/v1/vm/snapshot", #"{"directory": "/s", "then": "go"}"#, 422,
                "The body cannot be used: then: expected one of sleep, wake, stop, found \"go\"."
            ),
            (
                "/v1/vm/snapshot", #"{"directory": "/s", "directory": "/t"}"#, 400,
                "The body cannot be read: directory: the key stands here twice."
            ),
        ])
    func badBodies(path: String, body: String, status: Int, sentence: String) throws {
        let rig = try ControlRig()
        let reply = try rig.ask("POST", path, body)
        #expect(reply.status == status)
        #expect(try reply.error() == (64, sentence))
        #expect(rig.vm.log.isEmpty)
    }

    @Test("A client that waits for leave gets it, or the refusal without it")
    func expectContinue() throws {
        let rig = try ControlRig()
        let client = try rig.connect()
        try client.send("POST /v1/vm/stop HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        #expect(try client.head().status == 100)
        try client.send("{}")
        #expect(try client.reply().status == 202)
        for (path, length, status) in [("/v1/vm/stop", 70_000, 413), ("/v1/nothing", 2, 404), ("/v1/vm", 2, 405)] {
            let other = try rig.connect()
            try other.send("POST \(path) HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: \(length)\r\n\r\n")
            #expect(try other.reply().status == status)
            other.closeOutput()
            #expect(try other.rest().isEmpty)
        }
    }

    @Test("A client that says nothing, stops in the middle, or asks for another protocol does not stay")
    func slow() throws {
        var limits = ControlLimits()
        limits.exchange = 1500
        limits.farewell = 150
        let rig = try ControlRig(limits: limits)
        let silent = try rig.connect()
        let slowHead = try rig.connect()
        try slowHead.send("GET /v1/vm HT")
        let slowBody = try rig.connect()
        try slowBody.send("POST /v1/vm/stop HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{")
        let idle = try rig.connect()
        try idle.send(request("GET", "/v1/vm"))
        #expect(try idle.reply().status == 200)
        #expect(try silent.rest().isEmpty && slowHead.rest().isEmpty && idle.rest().isEmpty)
        #expect(try slowBody.reply().status == 408)
        #expect(try slowBody.rest().isEmpty)
        let upgrade = try rig.connect()
        try upgrade.send(request("GET", "/v1/vm", headers: ["Connection: Upgrade", "Upgrade: h2c"]))
        #expect(try upgrade.reply().status == 200)
        #expect(try upgrade.rest().isEmpty)
        #expect(rig.vm.log.isEmpty)
    }

    @Test("A client that asks and never reads is closed, and disturbs nobody")
    func neverReads() throws {
        var limits = ControlLimits()
        limits.exchange = 1500
        let rig = try ControlRig(limits: limits)
        let client = try rig.connect()
        try client.socket.setNonBlocking()
        // More than a socket holds, so that the server's answers come to a halt.
        let burst = String(repeating: request("GET", "/v1/devices"), count: 400)
        _ = eventually { (try? client.send(burst)) == nil }
        #expect(try rig.ask("GET", "/v1/vm").status == 200)
        try client.socket.setNonBlocking(false)
        #expect(eventually { rig.openConnections == 0 })
    }

    @Test("One connection too many is told so, and gets in when another has gone")
    func tooManyConnections() throws {
        let rig = try ControlRig()
        var clients: [RawClient] = []
        for _ in 0..<32 {
            let client = try rig.connect()
            try client.send(request("GET", "/v1/vm"))
            #expect(try client.reply().status == 200)
            clients.append(client)
        }
        let refused = try rig.connect().reply()
        #expect(refused.status == 503)
        #expect(try refused.error() == (66, "The VM has as many control connections as it takes; close one."))
        clients.removeLast()
        #expect(eventually { (try? rig.ask("GET", "/v1/vm").status) == 200 })
        for client in clients {
            try client.send(request("GET", "/v1/vm"))
            #expect(try client.reply().status == 200)
        }
    }

    @Test("Seeded damage to requests never takes the server down")
    func damagedRequests() throws {
        let rig = try ControlRig()
        var state: UInt64 = 0x5eed
        let whole = request("POST", "/v1/vm/snapshot", #"{"directory": "/s"}"#, headers: ["Accept: */*"])
        for _ in 0..<150 {
            var damaged = Array(whole.utf8)
            for _ in 0...2 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let at = Int(state >> 33) % damaged.count
                switch state >> 60 & 3 {
                case 0: damaged[at] = UInt8(truncatingIfNeeded: state >> 20) & 0x7f
                case 1: damaged.remove(at: at)
                case 2: damaged.removeLast(min(damaged.count - 1, at))
                default: damaged.insert(UInt8(truncatingIfNeeded: state >> 24) & 0x7f, at: at)
                }
            }
            let client = try rig.connect()
            try client.send(String(decoding: damaged, as: UTF8.self))
            client.closeOutput()
            _ = try client.rest()
        }
        #expect(try rig.ask("GET", "/v1/vm").status == 200)
    }
}
