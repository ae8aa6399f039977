import Foundation
import Schema
import Synchronization
import Testing

@testable import Supervisor

@Suite("Control socket")
struct ControlServerTests {
    @Test("Every command reaches the VM, and its answer comes back")
    func commands() throws {
        let rig = try ControlRig()
        let answers = [
            try rig.ask("POST", "/v1/vm/sleep"), try rig.ask("POST", "/v1/vm/sleep", "{}"), try rig.ask("POST", "/v1/vm/wake"),
            try rig.ask("POST", "/v1/vm/wake"), try rig.ask("POST", "/v1/vm/power-button"),
            try rig.ask("POST", "/v1/vm/snapshot", #"{"directory": "/s", "then": "stop"}"#),
            try rig.ask("POST", "/v1/vm/stop"), try rig.ask("POST", "/v1/vm/stop", #"{"force": true}"#),
        ]
        #expect(answers.map(\.status) == [200, 200, 200, 200, 202, 200, 202, 202])
        #expect(try answers.prefix(4).map { try $0.json().member("changed") } == [true, false, true, false])
        #expect(try answers[5].json().member("directory") == "/s")
        #expect(
            rig.vm.log == ["sleep", "sleep", "wake", "wake", "powerButton", "snapshot /s", "stop false", "stop true"])
    }

    @Test("What is known is told at once: the VM, its configuration, its devices and each of them")
    func queries() throws {
        let rig = try ControlRig()
        #expect(try rig.ask("GET", "/v1/vm").json() == rig.vm.info())
        #expect(try rig.ask("GET", "/v1/vm/config").json() == rig.vm.configuration())
        #expect(try rig.ask("GET", "/v1/devices").json() == ["devices": .array(rig.vm.devices())])
        #expect(try rig.ask("GET", "/v1/devices/net0").json() == rig.vm.devices()[1])
        #expect(try rig.ask("GET", "http://localhost/v1/vm").status == 200)
        let missing = try rig.ask("GET", "/v1/devices/net1")
        #expect(missing.status == 404)
        #expect(try missing.error() == (64, "The VM has no device \"net1\"."))
    }

    @Test("Paths and methods that are not there are refused, with the methods that are")
    func router() throws {
        let rig = try ControlRig()
        for path in ["/", "/v1", "/v1/vm/", "/v2/vm", "/v1/devices/", "/v1/devices/a/b"] {
            #expect(try rig.ask("GET", path).status == 404, "\(path)")
        }
        let wrong = try rig.ask("DELETE", "/v1/vm")
        #expect(wrong.status == 405 && wrong.headers["allow"] == "GET, HEAD, OPTIONS")
        let post = try rig.ask("GET", "/v1/vm/sleep")
        #expect(post.status == 405 && post.headers["allow"] == "OPTIONS, POST")
        let options = try rig.ask("OPTIONS", "/v1/vm/sleep")
        #expect(options.status == 204 && options.headers["allow"] == "OPTIONS, POST" && options.body.isEmpty)
        #expect(try rig.ask("OPTIONS", "*").headers["allow"] == "GET, HEAD, OPTIONS, POST")
        #expect(try rig.ask("GET", "/v1/vm?x=1").status == 400)
        #expect(rig.vm.log.isEmpty)
    }

    @Test("HEAD is GET without the body, and leaves the connection in step")
    func head() throws {
        let rig = try ControlRig()
        let client = try rig.connect()
        for path in ["/v1/vm", "/v1/events", "/v1/nothing"] {
            try client.send(request("HEAD", path))
            let reply = try client.reply(toHead: true)
            #expect(reply.status == (path == "/v1/nothing" ? 404 : 200))
        }
        try client.send(request("GET", "/v1/vm"))
        #expect(try client.reply().json() == rig.vm.info())
        #expect(rig.hub.subscriberCount == 0)
    }

    @Test("A connection carries one request after the other, until either side wants to close it")
    func keepAlive() throws {
        let rig = try ControlRig()
        let client = try rig.connect()
        for _ in 0..<3 {
            try client.send(request("GET", "/v1/nothing") + request("GET", "/v1/vm"))
            #expect(try client.reply().status == 404)
            #expect(try client.reply().status == 200)
        }
        try client.send(request("GET", "/v1/vm", headers: ["Connection: close"]))
        #expect(try client.reply().headers["connection"] == "close")
        #expect(try client.rest().isEmpty)
        let old = try rig.connect()
        try old.send("GET /v1/vm HTTP/1.0\r\n\r\n")
        #expect(try old.reply().status == 200)
        #expect(try old.rest().isEmpty)
    }

    @Test("Requests that are sent without waiting are answered in their order, also around a command")
    func pipelining() throws {
        let rig = try ControlRig()
        let client = try rig.connect()
        try client.send(
            request("GET", "/v1/vm") + request("POST", "/v1/vm/sleep", "{}") + request("GET", "/v1/vm") + request("GET", "/v1/devices/disk")
        )
        #expect(try client.reply().json().member("state") == "running")
        #expect(try client.reply().json().member("changed") == true)
        #expect(try client.reply().json().member("state") == "asleep")
        #expect(try client.reply().json().member("id") == "disk")
    }

    @Test("A request whose bytes come one by one is a request")
    func byteByByte() throws {
        let rig = try ControlRig()
        let client = try rig.connect()
        for character in request("POST", "/v1/vm/snapshot", #"{"directory": "/s"}"#) { try client.send(String(character)) }
        #expect(try client.reply().status == 200)
    }

    @Test("A client that has closed its direction still gets what it asked for, and then the end")
    func halfOpen() throws {
        let rig = try ControlRig(gated: true)
        let client = try rig.connect()
        try client.send(request("POST", "/v1/vm/snapshot", #"{"directory": "/s"}"#))
        client.closeOutput()
        rig.vm.begun.wait()
        rig.vm.gate?.signal()
        #expect(try client.reply().status == 200)
        #expect(try client.rest().isEmpty)
        // Nothing asked, or only half of it: the end, with a word when there was a beginning.
        let silent = try rig.connect()
        silent.closeOutput()
        #expect(try silent.rest().isEmpty)
        let half = try rig.connect()
        try half.send("POST /v1/vm/stop HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n{")
        half.closeOutput()
        let last = String(decoding: try half.rest(), as: UTF8.self)
        #expect(last.isEmpty || last.hasPrefix("HTTP/1.1 400 "))
        #expect(rig.vm.log == ["snapshot /s"])
    }

    @Test("Two commands at once: both are carried out, one after the other")
    func concurrentCommands() throws {
        let rig = try ControlRig()
        let clients = try (0..<8).map { _ in try rig.connect() }
        for client in clients { try client.send(request("POST", "/v1/vm/sleep")) }
        let changed = try clients.map { try $0.reply().json().member("changed") }
        #expect(changed.count { $0 == true } == 1 && changed.count { $0 == false } == 7)
        #expect(rig.vm.state.withLock { $0.mostInside } == 1)
    }

    @Test("While a long command runs, questions are answered, some commands wait, and one too many is refused")
    func longCommand() throws {
        var limits = ControlLimits()
        limits.waitingCommands = 2
        let rig = try ControlRig(gated: true, limits: limits)
        let long = try rig.connect()
        try long.send(request("POST", "/v1/vm/snapshot", #"{"directory": "/s"}"#))
        rig.vm.begun.wait()
        #expect(try rig.ask("GET", "/v1/vm").status == 200)
        #expect(try rig.ask("GET", "/v1/devices").status == 200)
        // One connection is asked about after each command, so that the order is known.
        let waiting = try [rig.connect(), rig.connect()]
        for (client, path) in zip(waiting, ["/v1/vm/wake", "/v1/vm/sleep"]) {
            try client.send(request("POST", path))
            #expect(try rig.ask("GET", "/v1/vm").status == 200)
        }
        let refused = try rig.ask("POST", "/v1/vm/wake")
        #expect(refused.status == 503)
        #expect(try refused.error() == (66, "2 commands wait already; try again later."))
        rig.vm.gate?.signal()
        #expect(try long.reply().status == 200)
        for client in waiting { #expect(try client.reply().status == 200) }
        #expect(rig.vm.log == ["snapshot /s", "wake", "sleep"])
    }

    @Test(
        "What the VM refuses comes back with its exit code and sentence",
        arguments: [
            (ExitCode.resource, 409), (.failure, 500), (.host, 500), (.configuration, 422), (.guestPanic, 409), (.stopped, 409),
        ])
    func vmErrors(code: ExitCode, status: Int) throws {
        let rig = try ControlRig()
        rig.vm.state.withLock { $0.error = VMError(code, "It cannot be done.") }
        let reply = try rig.ask("POST", "/v1/vm/sleep")
        #expect(reply.status == status)
        #expect(try reply.error() == (Int64(code.rawValue), "It cannot be done."))
        #expect(throws: VMError(code, "It cannot be done.")) { try rig.client().sleep() }
    }

    @Test("Stopping answers what has been carried out, refuses what waits, and does not wait for a long command")
    func stop() throws {
        let rig = try ControlRig(gated: true)
        let stream = try rig.connect()
        try stream.send(request("GET", "/v1/events"))
        _ = try stream.event()
        let long = try rig.connect()
        try long.send(request("POST", "/v1/vm/snapshot", #"{"directory": "/s"}"#))
        rig.vm.begun.wait()
        let waiting = try rig.connect()
        try waiting.send(request("POST", "/v1/vm/wake"))
        #expect(try rig.ask("GET", "/v1/vm").status == 200)
        rig.server.stop()
        #expect(try waiting.reply().error().message == "The VM is ending and takes no more commands.")
        #expect(try waiting.rest().isEmpty)
        #expect(throws: RawClient.Ended.self) { try stream.event() }
        #expect(try long.rest().isEmpty)
        #expect(throws: (any Error).self) { try rig.connect() }
        rig.vm.gate?.signal()
        rig.server.stop()
    }
}
