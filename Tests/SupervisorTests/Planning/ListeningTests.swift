import Devices
import Foundation
import Host
import Synchronization
import Testing

@testable import Supervisor

@Suite("Sockets that are found by a path")
struct ListeningTests {
    private let root = TemporaryRoot()
    private let path: String

    /// Threads that cannot be ended: they go with the process.
    private static let stuck = Mutex<[WorkerThread<Bool>]>([])

    init() throws {
        try FileManager.default.createDirectory(atPath: root.path, withIntermediateDirectories: true)
        path = "\(root.path)/s"
    }

    /// What `body` does, and in how many milliseconds: on a thread, because a test that fails might wait for ever.
    private func timed(_ body: @escaping @Sendable () -> String) throws -> (outcome: String, milliseconds: Int64)? {
        let outcome = Slot<String>()
        let done = try EventFD()
        let begin = MonotonicTime.now
        let thread = try WorkerThread(name: "timed", state: true) { _, _ in
            outcome.put(body())
            done.signal()
        }
        guard done.waitWithoutDraining(milliseconds: 10_000) else {
            Self.stuck.withLock { $0.append(thread) }
            return nil
        }
        _ = thread.stop()
        return (outcome.take() ?? "", MonotonicTime.now - begin)
    }

    /// Takes connections out of a queue, and counts them.
    private func drain(_ listener: borrowing OwnedDescriptor) throws -> Int {
        try listener.setNonBlocking()
        var count = 0
        while (try? UnixSocket.accept(on: listener)) != nil { count += 1 }
        return count
    }

    /// Makes connections until the queue is full, and keeps them.
    private func fill() -> PassedDescriptors {
        var clients = PassedDescriptors()
        while let client = try? UnixSocket.connectWithoutWaiting(to: path) { clients.append(client) }
        return clients
    }

    @Test("A path of somebody who listens but takes no connections is in use, which is found out with one connection")
    func inUse() throws {
        let listener = try UnixSocket.listen(at: path)
        let path = path
        let result = try #require(try timed { "\(Self.number { () throws(SystemError) in try listenTakingOver(path) })" })
        #expect(result.outcome == "\(EADDRINUSE)")
        #expect(result.milliseconds >= 1000)
        #expect(result.milliseconds < 5000)
        let count = try drain(listener)
        #expect(count == 1)
    }

    @Test("A path of somebody whose queue is full is in use, too")
    func fullQueue() throws {
        let listener = try UnixSocket.listen(at: path)
        let clients = fill()
        let path = path
        let result = try #require(try timed { "\(Self.number { () throws(SystemError) in try listenTakingOver(path) })" })
        #expect(result.outcome == "\(EADDRINUSE)")
        #expect(result.milliseconds < 5000)
        #expect(listener.rawValue >= 0)
        #expect(clients.count > 0)
    }

    @Test("The socket of somebody who goes without removing it is taken over when he has gone", arguments: [false, true])
    func predecessor(_ hasFullQueue: Bool) throws {
        let listener = Slot(try UnixSocket.listen(at: path))
        let clients = hasFullQueue ? fill() : PassedDescriptors()
        let leaving = try WorkerThread(name: "leaving", state: true) { _, _ in
            pause(milliseconds: 200)
            _ = listener.take()
        }
        let path = path
        let result = try #require(try timed { "\(Self.number { () throws(SystemError) in try listenTakingOver(path) })" })
        #expect(result.outcome == "0")
        #expect(result.milliseconds >= 200)
        #expect(clients.count >= 0)
        _ = leaving.stop()
    }

    @Test("A stream whose other end takes no connections is waited for, but not for ever")
    func stream() throws {
        let listener = try UnixSocket.listen(at: path)
        let clients = fill()
        let text = #"{"boot": {"kernel": "k"}, "devices": [{"id": "net", "type": "net", "backend": {"stream": "\#(path)"}}]}"#
        let devices = try ConfigFile(bytes: Array(text.utf8), path: "vm.json", directory: "/").configuration.devices
        guard case .network(let settings)? = devices.first?.kind else { throw SystemError("decode", .invalidArgument) }
        let planner = NetworkPlanner(id: "net", key: "devices[0]") { _ in }
        let result = try #require(
            try timed {
                do throws(VMError) { _ = try planner.open(settings) } catch { return error.message }
                return ""
            })
        let path = path
        #expect(
            result.outcome == "devices[0].backend: \(path): somebody listens, but takes no connections; expected a Unix stream socket that "
                + "accepts connections.")
        #expect(result.milliseconds >= 3000)
        #expect(listener.rawValue >= 0)
        #expect(clients.count > 0)
    }

    @Test("A stream whose other end is busy for a moment is connected")
    func busyStream() throws {
        let listener = try UnixSocket.listen(at: path)
        let clients = fill()
        let other = Slot(try listener.duplicate())
        let accepting = try WorkerThread(name: "accepting", state: true) { _, _ in
            pause(milliseconds: 200)
            if let listener = other.take() { _ = try? UnixSocket.accept(on: listener) }
        }
        let path = path
        let result = try #require(try timed { "\(Self.number { () throws(SystemError) in try connectPatiently(path) })" })
        #expect(result.outcome == "0")
        #expect(clients.count > 0)
        _ = accepting.stop()
    }

    /// The error number that opening ends with, or 0.
    private static func number(_ open: () throws(SystemError) -> OwnedDescriptor) -> Int32 {
        do throws(SystemError) {
            _ = try open()
            return 0
        } catch {
            return error.errno.rawValue
        }
    }
}
