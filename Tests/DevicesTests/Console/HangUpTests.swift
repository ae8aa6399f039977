import Host
import Testing
import Virtqueue

@testable import Devices

/// Clients of a console's socket that leave before the guest listens.
@Suite("Console clients that hang up")
struct HangUpTests {
    /// A back-end that listens on a socket, and what waits for it. Its turns are counted by who calls `turn`.
    private struct Listener: ~Copyable {
        let socket: SocketPath
        let poller: Poller
        var backend: CharacterBackend

        init(_ name: String) throws {
            let path = SocketPath(name)
            let set = try Poller()
            var listener = try CharacterBackend.listener(try UnixSocket.listen(at: path.path))
            listener.beginWaiting(token: 0)
            socket = path
            poller = set
            backend = listener
        }

        /// One round of a worker: the number of events that there were.
        mutating func turn(wantsInput: Bool) throws -> Int {
            _ = try backend.updateWaiting(poller, wantsInput: wantsInput)
            var events: [PollEvent] = []
            try poller.wait(timeoutMilliseconds: 0) { events.append($0) }
            for event in events { backend.handle(event, poller: poller) }
            return events.count
        }

        /// Rounds until nothing happens; nil when that never comes.
        mutating func turnsUntilQuiet(wantsInput: Bool) throws -> Int? {
            for count in 0..<20 where try turn(wantsInput: wantsInput) == 0 { return count }
            return nil
        }

        mutating func read() -> (CharacterBackend.Input, [UInt8]) {
            var bytes = [UInt8](repeating: 0, count: 64)
            var span = bytes.mutableSpan
            var untyped = span.untyped
            let input = backend.read(into: &untyped)
            guard case .bytes(let count) = input else { return (input, []) }
            return (input, Array(bytes.prefix(count)))
        }
    }

    @Test("One that leaves nothing behind makes place for the next at once")
    func leavesNothing() throws {
        var listener = try Listener("leaves-nothing")
        do {
            let client = try ConsolePeer(try UnixSocket.connect(to: listener.socket.path))
            let turns = try listener.turnsUntilQuiet(wantsInput: false)
            #expect(turns == 1)
            _ = consume client
        }
        let turns = try listener.turnsUntilQuiet(wantsInput: false)
        #expect(turns != nil)
        let second = try ConsolePeer(try UnixSocket.connect(to: listener.socket.path))
        let more = try listener.turnsUntilQuiet(wantsInput: false)
        #expect(more != nil)
        let greeting: [UInt8] = [7, 8, 9]
        listener.backend.write(greeting.span.untyped)
        #expect(try second.read(3) == greeting)
    }

    @Test("What one leaves behind is read when input is wanted, and until then nobody turns in circles")
    func leavesInput() throws {
        var listener = try Listener("leaves-input")
        do {
            let client = try ConsolePeer(try UnixSocket.connect(to: listener.socket.path))
            _ = try listener.turnsUntilQuiet(wantsInput: false)
            try client.write("command")
        }
        let quiet = try listener.turnsUntilQuiet(wantsInput: false)
        #expect(quiet != nil)
        // Waiting begins anew after a sleep.
        listener.backend.endWaiting(listener.poller)
        listener.backend.beginWaiting(token: 0)
        let stillQuiet = try listener.turnsUntilQuiet(wantsInput: false)
        #expect(stillQuiet != nil)

        let second = try ConsolePeer(try UnixSocket.connect(to: listener.socket.path))
        var bytes: [UInt8] = []
        for _ in 0..<20 where bytes.count < 7 {
            _ = try listener.turn(wantsInput: true)
            bytes += listener.read().1
        }
        #expect(String(decoding: bytes, as: UTF8.self) == "command")
        #expect(listener.read().0 == .ended)
        let afterwards = try listener.turnsUntilQuiet(wantsInput: true)
        #expect(afterwards != nil)
        try second.write("next")
        _ = try listener.turn(wantsInput: true)
        #expect(listener.read().1 == Array("next".utf8))
    }

    @Test("A guest that listens late gets what the first client left, and then the second client")
    func guestListensLate() throws {
        let socket = SocketPath("listens-late")
        let console = try ConsoleHarness(try .listener(try UnixSocket.listen(at: socket.path)))
        do {
            let client = try ConsolePeer(try UnixSocket.connect(to: socket.path))
            try client.write("first")
        }
        let second = try ConsolePeer(try UnixSocket.connect(to: socket.path))
        try console.post(8, of: 64)
        try console.write("ready")
        #expect(try console.read(5) == "first")
        try second.write("second")
        #expect(try console.read(6) == "second")
    }
}
