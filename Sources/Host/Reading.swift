import Glibc
import Virtqueue

extension OwnedDescriptor {
    /// Reads up to `limit` bytes into a new array; an empty one is the end.
    public borrowing func readSome(_ limit: Int) throws(SystemError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: max(limit, 1))
        let count: Int
        do {
            var span = bytes.mutableSpan
            var untyped = span.untyped
            count = try read(into: &untyped)
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    /// Whether a read would return at once: there is something to read, or the end.
    public borrowing func hasInputWaiting() -> Bool {
        var poll = pollfd(fd: rawValue, events: Int16(POLLIN), revents: 0)
        return unsafe Glibc.poll(&poll, 1, 0) > 0
    }
}

/// `count` bytes from the kernel's random number generator.
public func randomBytes(_ count: Int) throws(SystemError) -> [UInt8] {
    let memory = try MemoryMapping(anonymous: max(count, 1))
    var done = 0
    while done < count { done += try fillWithRandomBytes(memory.range.slice(from: done, count: count - done)) }
    var bytes = [UInt8](repeating: 0, count: count)
    var span = bytes.mutableSpan
    memory.range.copy(to: &span)
    return bytes
}
