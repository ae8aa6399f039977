import Foundation
import Schema
import Synchronization
import Testing

@testable import Supervisor

@Suite("Control socket, events")
struct ControlEventTests {
    @Test("A reader hears the state, then every event in order, with its time, and the end when the server stops")
    func stream() throws {
        let rig = try ControlRig()
        let client = try rig.connect()
        try client.send(request("GET", "/v1/events"))
        let head = try client.head()
        #expect(head.status == 200 && head.headers["transfer-encoding"] == "chunked")
        #expect(head.headers["content-type"] == "application/x-ndjson")
        #expect(try client.event().member("state") == "running")
        rig.hub.publishState("asleep")
        rig.hub.publishPanic()
        rig.hub.publishDeviceError(id: "disk", message: "It broke.\nTwice.")
        let events = try (0..<3).map { _ in try client.event() }
        #expect(events.map { $0.member("event") } == ["state", "panic", "deviceError"])
        #expect(events[0].member("state") == "asleep")
        #expect(events[2].member("device") == "disk" && events[2].member("message") == "It broke.\nTwice.")
        for event in events {
            guard case .string(let time)? = event.member("time") else { throw RawReply.Missing() }
            #expect(ControlTime.seconds(time) != nil, "\(time)")
        }
        rig.server.stop()
        #expect(throws: RawClient.Ended.self) { try client.event() }
        #expect(rig.hub.subscriberCount == 0)
    }

    @Test("Every reader hears everything, and one that goes is forgotten")
    func manyReaders() throws {
        let rig = try ControlRig()
        var clients = try (0..<5).map { _ in try rig.connect() }
        for client in clients {
            try client.send(request("GET", "/v1/events"))
            _ = try client.event()
        }
        #expect(rig.hub.subscriberCount == 5)
        clients.removeLast()
        #expect(eventually { rig.hub.subscriberCount == 4 })
        for number in 0..<100 { rig.hub.publish(["event": "test", "number": .integer(Int64(number))]) }
        for client in clients {
            for number in 0..<100 { #expect(try client.event().member("number") == .integer(Int64(number))) }
        }
    }

    @Test("A reader that does not read holds nobody up, and is told how many lines it has lost")
    func slowReader() throws {
        var limits = ControlLimits()
        limits.waitingEvents = 8
        let rig = try ControlRig(limits: limits)
        let slow = try rig.connect()
        let quick = try rig.connect()
        for client in [slow, quick] {
            try client.send(request("GET", "/v1/events"))
            _ = try client.event()
        }
        let total: Int64 = 500
        let padding = JSONValue.string(String(repeating: "x", count: 4000))
        for number in 0..<total {
            rig.hub.publish(["event": "test", "number": .integer(number), "padding": padding])
            // The quick reader reads each line before the next is there, so it loses none.
            #expect(try quick.event().member("number") == .integer(number))
        }
        var seen: Int64 = 0
        var lost: Int64 = 0
        var next: Int64 = 0
        while next < total {
            let event = try slow.event()
            if case .integer(let count)? = event.member("count") {
                #expect(event.member("event") == "dropped")
                lost += count
                next += count
            } else {
                #expect(event.member("number") == .integer(next))
                seen += 1
                next += 1
            }
        }
        #expect(seen + lost == total && lost > 0 && seen >= 8)
    }

    @Test("A backlog keeps the newest lines, and wakes its reader once until it has looked")
    func backlog() {
        let hub = EventHub()
        let wakes = Counter()
        let subscriber = hub.subscribe(backlog: 3) { wakes.increment() }
        #expect(subscriber.take().isEmpty)
        for number in 0..<5 { hub.publish(["time": "t", "number": .integer(Int64(number))]) }
        #expect(wakes.value == 1)
        let lines = subscriber.take()
        #expect(lines.count == 4)
        #expect(lines[0].contains(#""count":2"#) && lines[0].contains(#""event":"dropped""#))
        #expect(Array(lines.dropFirst()) == (2...4).map { "{\"number\":\($0),\"time\":\"t\"}\n" })
        #expect(subscriber.take().isEmpty)
        hub.publish(["time": "t"])
        #expect(wakes.value == 2)
        hub.unsubscribe(subscriber)
        hub.publish(["time": "t"])
        #expect(subscriber.take().count == 1)
    }

    @Test("A value on one line keeps what stands in its strings")
    func line() throws {
        let value: JSONValue = ["a b": ["x  y", "\"\\ \n{", [:], []], "c": .number(0.5), "d": .null]
        let line = ControlText.line(value)
        #expect(line.hasSuffix("\n") && line.count { $0 == "\n" } == 1)
        #expect(try JSONText.decode(Array(line.utf8)) == value)
    }
}

/// A number that any thread may count up.
final class Counter: Sendable {
    private let count = Mutex(0)
    func increment() { count.withLock { $0 += 1 } }
    var value: Int { count.withLock { $0 } }
}
