import Host
import Testing
import Virtio

@Suite("A copy of a configuration space")
struct ConfigurationCopyTests {
    @Test("What lies beyond the space reads as zero", arguments: [0, 1, 3, 4, 1000, Int.max])
    func read(_ offset: Int) {
        let copy = ConfigurationCopy([1, 2, 3, 4])
        var bytes = [UInt8](repeating: 0xff, count: 3)
        var span = bytes.mutableSpan
        copy.read(at: offset, into: &span)
        #expect(bytes == Array(([1, 2, 3, 4].dropFirst(offset) + [0, 0, 0]).prefix(3)))
    }

    @Test("An answer is kept before the next one is asked for")
    func order() throws {
        let copy = ConfigurationCopy()
        let (isAsking, goOn) = (try EventFD(), try EventFD())
        // Asked first, answered last.
        let old = try WorkerThread(name: "old", state: true) { _, _ in
            copy.refresh {
                isAsking.signal()
                _ = goOn.waitWithoutDraining(milliseconds: 10_000)
                return [1]
            }
        }
        #expect(isAsking.waitWithoutDraining(milliseconds: 10_000))
        let new = try WorkerThread(name: "new", state: true) { _, _ in
            goOn.signal()
            copy.refresh { [2] }
        }
        _ = new.stop()
        _ = old.stop()
        #expect(copy.bytes == [2])
    }

    @Test("Who asks in vain keeps what is known")
    func failure() {
        let copy = ConfigurationCopy([7])
        #expect(throws: SystemError.self) { try copy.refresh { () throws(SystemError) in throw SystemError("ask", .invalidArgument) } }
        #expect(copy.bytes == [7])
    }
}
