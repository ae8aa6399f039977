import CLinux
import Glibc

/// Descriptors in a certain order: as they came with the bytes of a Unix socket, or as another process is to get them. Those that nobody takes
/// are closed.
public struct PassedDescriptors: ~Copyable, Sendable {
    /// The most that are taken with one message.
    public static let most = Int(SWV_MOST_PASSED)

    /// From `first` on they are still ours.
    private var raw: [Int32]
    private var first = 0

    /// None.
    public init() { raw = [] }

    fileprivate init(owning raw: [Int32]) { self.raw = raw }

    deinit { for descriptor in raw[first...] { close(descriptor) } }

    /// Adds one at the end.
    public mutating func append(_ descriptor: consuming OwnedDescriptor) { raw.append(descriptor.release()) }

    /// Adds those of `others` that have not been taken, at the end.
    public mutating func append(contentsOf others: consuming PassedDescriptors) {
        while let next = others.takeFirst() { append(next) }
    }

    /// Those that have not been taken, by number: to look at, or to pass on.
    public var rawValues: [Int32] { Array(raw[first...]) }

    /// How many have not been taken.
    public var count: Int { raw.count - first }

    /// Takes the first one; nil when none is left.
    public mutating func takeFirst() -> OwnedDescriptor? {
        guard first < raw.count else { return nil }
        defer { first += 1 }
        return OwnedDescriptor(owning: raw[first])
    }
}

extension PassedDescriptors {
    /// Those that this process has inherited, from the number `first` on up to the first that is not open.
    public init(inheritedFrom first: Int32) {
        self.init()
        var raw = first
        while let descriptor = try? OwnedDescriptor.adopting(inherited: raw) {
            append(descriptor)
            raw += 1
        }
    }

    /// Takes the first one; EBADF when none is left.
    public mutating func next() throws(SystemError) -> OwnedDescriptor {
        guard let descriptor = takeFirst() else { throw SystemError("descriptor", .badDescriptor) }
        return descriptor
    }
}

extension OwnedDescriptor {
    /// Reads bytes from a Unix socket, and the descriptors that came with them; 0 bytes are the end. EMSGSIZE for more descriptors than
    /// `PassedDescriptors.most`. A read takes the descriptors of at most one message, and never goes beyond the bytes they came with.
    public borrowing func receive(into buffer: inout MutableRawSpan, passed: inout PassedDescriptors) throws(SystemError) -> Int {
        var descriptors = [Int32](repeating: -1, count: PassedDescriptors.most)
        var count = 0
        let raw = rawValue
        let result = try retryingOnInterrupt("recvmsg") {
            unsafe buffer.withUnsafeMutableBytes { bytes in
                unsafe descriptors.withUnsafeMutableBufferPointer {
                    unsafe swv_receive_passed(raw, bytes.baseAddress, bytes.count, $0.baseAddress, &count)
                }
            }
        }
        passed = PassedDescriptors(owning: Array(descriptors.prefix(count)))
        return result
    }

    /// Writes bytes to a Unix socket, and passes descriptors, which stay open here, with the first of them. Returns how many bytes went out;
    /// when that is more than 0, the descriptors did as well. A peer that has gone is EPIPE.
    public borrowing func send(_ bytes: RawSpan, passing descriptors: [Int32]) throws(SystemError) -> Int {
        let raw = rawValue
        return try retryingOnInterrupt("sendmsg") {
            unsafe bytes.withUnsafeBytes { bytes in
                unsafe descriptors.withUnsafeBufferPointer {
                    unsafe swv_send_passing(raw, bytes.baseAddress, bytes.count, $0.baseAddress, $0.count)
                }
            }
        }
    }
}
