import Glibc
import Host
import Synchronization
import Virtqueue

/// A block device whose storage is this object: Linux's nbd driver talks to it over a socket. Writes to some places can be held back for as
/// long as one likes, while all others are done, so that nothing depends on time; or it is slow, so that whoever dies has requests under way. For
/// root, in the lab.
///
/// The protocol is that of Linux's `nbd` driver after the handshake (`linux/nbd.h`), which is spared here.
final class HeldStorage {
    static let size = 16 << 20
    let path = "/dev/nbd0"
    private let core: StorageCore
    private let server: WorkerThread<Bool>
    private let client: ChildProcess
    private let pulse: WorkerThread<Bool>?

    /// What has to be said to the driver stands in `linux/nbd.h`; it needs a process that waits for as long as the device lasts.
    private static let script = """
        my @steps = ([0xab01, 512], [0xab07, \(size / 512)], [0xab0a, 1], [0xab00, 3]);
        open my $device, "+<", "/dev/nbd0" or die $!;
        for (@steps) { defined ioctl $device, $_->[0], $_->[1] or die "$_->[0]: $!" }
        ioctl $device, 0xab03, 0;
        """

    /// `pulse`: everything waits, and is done every so many milliseconds, what came last first; nil: nothing waits but what is held back.
    init(pulse: Int64? = nil) throws {
        guard Command.shell("modprobe nbd nbds_max=1 max_part=0") != nil else { throw PeerFailure("the module nbd does not load") }
        let pair = try SocketPair()
        let core = StorageCore(try pair.first.duplicate())
        self.core = core
        core.state.withLock { $0.holdsAll = pulse != nil }
        self.pulse = try pulse.map { milliseconds in
            try WorkerThread(name: "pulse", state: true) { _, stop in
                while !stop.wait(timeoutMilliseconds: milliseconds) { core.doHeld() }
            }
        }
        server = try WorkerThread(name: "storage", state: true) { _, _ in core.serve() }
        client = try ChildProcess(
            path: "/usr/bin/perl", arguments: ["perl", "-e", Self.script],
            descriptors: [InheritedDescriptor(2, as: 2), InheritedDescriptor(pair.second.rawValue, as: 3)])
        let deadline = MonotonicTime.now + peerPatience
        while Command.shell("[ -e /sys/block/nbd0/pid ] && [ $(cat /sys/block/nbd0/size) = \(Self.size / 512) ]") == nil {
            guard MonotonicTime.now < deadline else { throw PeerFailure("there is no \(path)") }
            pause(milliseconds: 20)
        }
    }

    /// From now on writes that begin at these offsets are held back.
    func hold(_ offsets: Set<UInt64>) { core.state.withLock { $0.offsets = offsets } }

    /// How many writes are held back now.
    var heldCount: Int { core.state.withLock { $0.held.count } }

    /// All that are held back land now, after everything that has landed, and nothing is held back any more.
    func release() { core.release() }

    /// The byte that stands there now.
    func byte(at offset: UInt64) -> UInt8 { core.state.withLock { $0.bytes[Int(clamping: offset)] } }

    /// The byte with which each write to this place began, in the order in which they landed.
    func landed(at offset: UInt64) -> [UInt8] { core.state.withLock { $0.landed[offset, default: []] } }

    /// Ends it: what is under way fails.
    func end() {
        _ = pulse?.stop()
        core.release()
        client.signal(SIGKILL)
        core.hangUp()
        _ = server.stop()
    }
}

/// What the thread of a `HeldStorage` has.
private final class StorageCore: Sendable {
    struct Request {
        let cookie: [UInt8]
        let offset: UInt64
        let count: Int
        /// What is to be written; nil of a read.
        var data: [UInt8]?
    }

    struct State {
        var bytes = [UInt8](repeating: 0, count: HeldStorage.size)
        var offsets: Set<UInt64> = []
        var holdsAll = false
        var held: [Request] = []
        var landed: [UInt64: [UInt8]] = [:]
    }

    private enum Kind {
        static let read: UInt64 = 0
        static let write: UInt64 = 1
        static let disconnect: UInt64 = 2
    }

    let state = Mutex(State())
    private let socket: OwnedDescriptor
    /// Held while an answer goes out.
    private let sending = Mutex(true)

    init(_ socket: consuming OwnedDescriptor) { self.socket = socket }

    func serve() {
        // magic (4 bytes), flags (2), type (2), cookie (8), offset (8), length (4); all big-endian.
        while let header = read(28) {
            let kind = Self.number(header[6..<8])
            let (cookie, offset, count) = (Array(header[8..<16]), Self.number(header[16..<24]), Int(Self.number(header[24..<28])))
            guard kind != Kind.disconnect, offset <= HeldStorage.size, count <= HeldStorage.size - Int(offset) else { return }
            guard kind == Kind.read || kind == Kind.write else {
                answer(cookie, [])
                continue
            }
            var request = Request(cookie: cookie, offset: offset, count: count)
            if kind == Kind.write {
                guard let data = read(count) else { return }
                request.data = data
            }
            let isHeld = state.withLock { state in
                guard state.holdsAll || kind == Kind.write && state.offsets.contains(offset) else { return false }
                state.held.append(request)
                return true
            }
            if !isHeld { perform(request) }
        }
    }

    func release() {
        state.withLock { ($0.holdsAll, $0.offsets) = (false, []) }
        for request in takeHeld() { perform(request) }
    }

    /// Does what is held back, the last first, and goes on holding back what comes.
    func doHeld() {
        for request in takeHeld().reversed() { perform(request) }
    }

    private func takeHeld() -> [Request] {
        state.withLock { state in
            defer { state.held = [] }
            return state.held
        }
    }

    func hangUp() { socket.hangUp() }

    private func perform(_ request: Request) {
        let start = Int(request.offset)
        guard let data = request.data else {
            return answer(request.cookie, state.withLock { Array($0.bytes[start..<start + request.count]) })
        }
        state.withLock { state in
            for (index, byte) in data.enumerated() { state.bytes[start + index] = byte }
            for place in stride(from: 0, to: data.count, by: 4096) {
                state.landed[request.offset + UInt64(place), default: []].append(data[place])
            }
        }
        answer(request.cookie, [])
    }

    /// magic (4 bytes), error (4), cookie (8), data.
    private func answer(_ cookie: [UInt8], _ data: [UInt8]) {
        let bytes: [UInt8] = [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0] + cookie + data
        sending.withLock { _ in
            var done = 0
            while done < bytes.count, let count = try? socket.send(bytes.span.extracting(done...).untyped) { done += count }
        }
    }

    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }

    private func read(_ count: Int) -> [UInt8]? {
        var bytes: [UInt8] = []
        while bytes.count < count {
            guard let some = try? socket.readSome(count - bytes.count), !some.isEmpty else { return nil }
            bytes += some
        }
        return bytes
    }
}
