import Glibc
import Host
import Virtqueue

/// A descriptor that is read without waiting, and what has come from it.
final class ByteStream {
    private let descriptor: OwnedDescriptor
    private var waiting: [UInt8] = []
    /// False after the end of the file.
    private(set) var isOpen = true

    init(_ descriptor: consuming OwnedDescriptor) throws(SystemError) {
        try descriptor.setNonBlocking()
        self.descriptor = descriptor
    }

    var rawValue: Int32 { descriptor.rawValue }

    /// Reads what is there.
    func fill() {
        var chunk = [UInt8](repeating: 0, count: 65536)
        while isOpen {
            var span = chunk.mutableSpan
            var untyped = span.untyped
            do throws(SystemError) {
                let count = try descriptor.read(into: &untyped)
                if count == 0 { isOpen = false }
                waiting += chunk[..<count]
            } catch {
                // A terminal whose other end is gone answers with EIO.
                if error.errno != .wouldBlock { isOpen = false }
                return
            }
        }
    }

    /// Writes all of a text; false when the other end takes no more within a few seconds.
    func write(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        var done = 0
        let deadline = MonotonicTime.now + 5000
        while done < bytes.count, MonotonicTime.now < deadline {
            if let count = try? descriptor.write(bytes.span.extracting(done...).untyped) { done += count } else { _ = usleep(10000) }
        }
        return done == bytes.count
    }

    /// The next whole line, without its end (nor carriage returns); at the end of the file also an unfinished one.
    func takeLine() -> String? {
        let end: Int
        if let newline = waiting.firstIndex(of: UInt8(ascii: "\n")) {
            end = newline
        } else if !isOpen, !waiting.isEmpty {
            end = waiting.count
        } else {
            return nil
        }
        let line = waiting[..<end].filter { $0 != UInt8(ascii: "\r") }
        waiting.removeFirst(min(end + 1, waiting.count))
        return String(decoding: line, as: UTF8.self)
    }

    /// All bytes that have come and were not taken.
    func takeBytes() -> [UInt8] {
        defer { waiting = [] }
        return waiting
    }

    /// All that has come and was not taken.
    func takeText() -> String {
        defer { waiting = [] }
        return String(decoding: waiting, as: UTF8.self)
    }

    /// Waits until one of the streams has something, or `milliseconds` are over, and reads it.
    static func wait(for streams: [ByteStream], milliseconds: Int64, also other: Int32? = nil) throws(SystemError) {
        let poller = try Poller()
        for (index, stream) in streams.enumerated() where stream.isOpen {
            // A regular file cannot be waited for.
            try poller.add(stream.rawValue, token: UInt64(index))
        }
        if let other { try poller.add(other, token: .max) }
        try poller.wait(timeoutMilliseconds: Int32(clamping: max(milliseconds, 0))) { _ in }
        for stream in streams { stream.fill() }
    }
}
