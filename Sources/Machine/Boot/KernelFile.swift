import GuestMemory
import Host
import Virtqueue

/// A file that is loaded into the guest: read where it is needed, straight into guest memory, and not trusted in anything.
struct KernelFile: ~Copyable {
    let descriptor: OwnedDescriptor
    let subject: KernelError.Subject
    /// Its size in bytes, not zero.
    let size: UInt64

    private init(_ descriptor: consuming OwnedDescriptor, _ subject: KernelError.Subject, size: UInt64) {
        self.descriptor = descriptor
        self.subject = subject
        self.size = size
    }

    /// Shares an open file.
    static func share(_ descriptor: borrowing OwnedDescriptor, _ subject: KernelError.Subject) throws(KernelError) -> KernelFile {
        let shared = try naming(subject) { () throws(SystemError) in try descriptor.duplicate() }
        let size = try naming(subject) { () throws(SystemError) in try shared.size() }
        guard size > 0 else { throw .empty(subject) }
        let file = KernelFile(shared, subject, size: size)
        // A directory has a size too, but it cannot be read.
        _ = try file.bytes(at: 0, count: 1)
        return file
    }

    /// `count` bytes from `offset`, or as many as there are.
    borrowing func bytes(at offset: UInt64, count: Int) throws(KernelError) -> ByteImage {
        guard offset < size else { return ByteImage([]) }
        let wanted = Int(min(UInt64(max(count, 0)), size - offset))
        var bytes: [UInt8] = []
        while bytes.count < wanted {
            var chunk = [UInt8](repeating: 0, count: wanted - bytes.count)
            var span = chunk.mutableSpan
            var untyped = span.untyped
            let count: Int
            do { count = try descriptor.read(into: &untyped, at: offset + UInt64(bytes.count)) } catch { throw .unreadable(subject, error) }
            if count == 0 { break }
            bytes += chunk[..<count]
        }
        return ByteImage(bytes)
    }

    /// Reads `count` bytes from `offset` into guest memory at `address`. The caller has checked that they lie in the file and in RAM;
    /// a file that has shrunk since is truncated.
    borrowing func load(at offset: UInt64, count: UInt64, into memory: GuestMemory, at address: UInt64) throws(KernelError) {
        guard let length = Int(exactly: count), let target = memory.range(at: address, count: length) else {
            throw .kernelTooLarge(needed: address &+ count, end: memory.regions[0].end)
        }
        defer { memory.markWritten(target) }
        var done = 0
        while done < length {
            let rest = [target.slice(from: done)]
            let count: Int
            do { count = try descriptor.read(into: rest.span, at: offset + UInt64(done)) } catch { throw .unreadable(subject, error) }
            guard count > 0 else { throw .truncated(subject, expected: offset + UInt64(length), found: offset + UInt64(done)) }
            done += count
        }
    }
}

/// Says which file a failed system call was about.
private func naming<Result: ~Copyable>(
    _ subject: KernelError.Subject, _ body: () throws(SystemError) -> Result
) throws(KernelError) -> Result {
    do { return try body() } catch { throw .unreadable(subject, error) }
}
