import Host
import Testing
import Virtqueue

@testable import Supervisor

@Suite("The stream of a VM on a pipe")
struct TerminalStreamTests {
    /// A stream on an input without end and on a pipe, as a shell makes them: blocking.
    private final class Rig {
        let stream: TerminalStream
        let guest: OwnedDescriptor
        let reader: OwnedDescriptor
        let input: Pipe

        init(keepsReader: Bool = true) throws {
            let output = try Pipe()
            input = try Pipe()
            stream = try TerminalStream(input: try input.reader.duplicate(), output: try output.writer.duplicate())
            guard let end = stream.takeGuestEnd() else { throw SystemError("take", .badDescriptor) }
            try end.setNonBlocking()
            guest = end
            reader = try keepsReader ? output.reader.duplicate() : input.reader.duplicate()
        }
    }

    /// More than a pipe and what is kept for it take.
    private static let text = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 % 251) }

    /// How long something took, in milliseconds.
    private static func time(_ body: () throws -> Void) rethrows -> Int64 {
        let begin = MonotonicTime.now
        try body()
        return MonotonicTime.now - begin
    }

    /// Has the guest say as much as it can, moves it on, and ends; how long either took.
    private static func sayAndFinish(_ rig: Rig) -> (moving: Int64, finishing: Int64) {
        var said = 0
        let moving = time {
            for _ in 0..<100 {
                let rest = text.span.extracting(said...)
                if !rest.isEmpty, let count = try? rig.guest.send(rest.untyped) { said += count }
                _ = rig.stream.move()
            }
        }
        return (moving, time { rig.stream.finish() })
    }

    /// Reads a pipe after a while, until it ends: a test that fails is to end, too.
    private static func readLater(_ reader: borrowing OwnedDescriptor) throws -> WorkerThread<[UInt8]> {
        let slot = Slot(try reader.duplicate())
        return try WorkerThread(name: "reader", state: [UInt8]()) { bytes, stop in
            _ = stop.waitWithoutDraining(milliseconds: 20_000)
            guard let reader = slot.take() else { return }
            while let some = try? reader.readSome(65536), !some.isEmpty { bytes += some }
        }
    }

    @Test("A reader that stops reading stops neither the loop nor the end, and misses nothing that had room")
    func stoppedReader() throws {
        let reading: WorkerThread<[UInt8]>
        do {
            let rig = try Rig()
            reading = try Self.readLater(rig.reader)
            let times = Self.sayAndFinish(rig)
            #expect(times.moving < 10_000)
            #expect(times.finishing < 10_000)
            #expect(times.finishing >= 400)
        }
        let bytes = try #require(reading.stop())
        #expect(bytes.count >= 32768)
        #expect(bytes.elementsEqual(Self.text.prefix(bytes.count)))
    }

    @Test("A reader that goes on gets everything, in order")
    func slowReader() throws {
        let rig = try Rig()
        try rig.reader.setNonBlocking()
        var said = 0
        var bytes: [UInt8] = []
        let deadline = MonotonicTime.now + 10_000
        while bytes.count < Self.text.count, MonotonicTime.now < deadline {
            let rest = Self.text.span.extracting(said...)
            if !rest.isEmpty, let count = try? rig.guest.send(rest.untyped) { said += count }
            _ = rig.stream.move()
            if let some = try? rig.reader.readSome(5000) { bytes += some }
        }
        #expect(bytes == Self.text)
        rig.stream.finish()
    }

    @Test("A reader that has gone is nobody to wait for")
    func goneReader() throws {
        ignoreBrokenPipes()
        let rig = try Rig(keepsReader: false)
        let bytes: [UInt8] = [1, 2, 3]
        #expect(try rig.guest.send(bytes.span.untyped) == 3)
        #expect(Self.time { rig.stream.finish(silence: 60_000) } < 30_000)
    }
}
