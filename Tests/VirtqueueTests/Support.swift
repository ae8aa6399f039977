import Glibc
import TestSupport
import Testing
import Virtqueue

typealias Random = SeededRandom

/// The seed of a test: fixed, so that a run can be repeated, unless VIRTQUEUE_SEED asks for other schedules.
func seed(_ number: UInt64) -> UInt64 {
    guard let text = unsafe getenv("VIRTQUEUE_SEED"), let base = unsafe UInt64(String(cString: text)) else { return number }
    return base &* 1_000_003 &+ number
}

/// Why a model disagrees with a queue.
struct Mismatch: Error, CustomStringConvertible {
    var description: String
    init(_ description: String) { self.description = description }
}

func require(_ condition: Bool, _ message: @autoclosure () -> String) throws {
    if !condition { throw Mismatch(message()) }
}

/// `#expect` for expressions that change a value which cannot be copied.
func check(_ condition: Bool, _ comment: String = "", sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(condition, Comment(rawValue: comment), sourceLocation: sourceLocation)
}

/// Memory as a peer sees it: one region at a fixed address. A test can change it in the middle of a translation and sees what was marked.
@safe
final class TestMemory: QueueMemory, @unchecked Sendable {
    // Sendable: the bytes are shared memory by design; the hooks are only set while one thread uses the queue.

    static let address: UInt64 = 0x10_0000
    let base: UnsafeMutableRawPointer
    let count: Int
    /// Runs after each successful translation, as a peer might that changes its tables at the worst moment.
    var onTranslation: ((_ address: UInt64, _ count: Int) -> Void)?
    /// Notes the writes that a device reports: offset in memory, count.
    var onWritten: ((_ offset: Int, _ count: Int) -> Void)?

    init(count: Int) {
        let pages = (count + 4095) & ~4095
        self.count = pages
        unsafe base = UnsafeMutableRawPointer.allocate(byteCount: pages, alignment: 4096)
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: pages)
    }

    deinit { unsafe base.deallocate() }

    var end: UInt64 { Self.address + UInt64(count) }

    /// From here on lies more memory than a test could have: it can be translated, and must not be touched.
    static let pretended: UInt64 = 1 << 40

    func range(at address: UInt64, count: Int) -> HostRange? {
        if address >= Self.pretended, address <= Self.pretended << 1, count >= 0 { return unsafe HostRange(base: base, count: count) }
        guard count >= 0, address >= Self.address, address <= end, UInt64(count) <= end - address else { return nil }
        if let onTranslation { onTranslation(address, count) }
        return unsafe HostRange(base: base + Int(address - Self.address), count: count)
    }

    func markWritten(_ range: HostRange) {
        if let onWritten { onWritten(offset(of: range), range.count) }
    }

    func offset(of range: HostRange) -> Int { unsafe range.base - base }

    /// Whether every byte of `range` is in this memory: what no driver may ever bring a device to leave.
    func contains(_ range: HostRange) -> Bool {
        let offset = offset(of: range)
        return offset >= 0 && range.count >= 0 && offset <= count && range.count <= count - offset
    }

    /// Everything, for tests that write into it as the peer would.
    var all: HostRange { unsafe HostRange(base: base, count: count) }

    subscript(address: UInt64) -> UInt8 {
        get { all.load(at: Int(address - Self.address)) ?? 0 }
        set { all.store(newValue, at: Int(address - Self.address)) }
    }

    func store<T: FixedWidthInteger>(_ value: T, at address: UInt64) { all.store(value, at: Int(address - Self.address)) }
    func load<T: FixedWidthInteger>(_ type: T.Type = T.self, at address: UInt64) -> T { all.load(at: Int(address - Self.address)) ?? 0 }
}

/// A combination of ring features and queue size.
struct RingCase: Sendable, CustomStringConvertible {
    var features: RingFeatures
    var size: UInt16

    var description: String {
        "\(features.format) \(size)\(features.indirect ? " indirect" : "")\(features.eventIndex ? " event_idx" : "")"
    }

    static let splitSizes: [UInt16] = [1, 2, 4, 8, 256, 32768]
    static let packedSizes: [UInt16] = [1, 2, 3, 4, 5, 7, 8, 100, 255, 256, 32768]

    static let all: [RingCase] = {
        var cases: [RingCase] = []
        for (format, sizes) in [(RingFormat.split, splitSizes), (.packed, packedSizes)] {
            for size in sizes {
                for bits in 0..<4 {
                    let features = RingFeatures(format: format, indirect: bits & 1 != 0, eventIndex: bits & 2 != 0)
                    cases.append(RingCase(features: features, size: size))
                }
            }
        }
        return cases
    }()

    /// One queue of moderate size for each combination of features.
    static let features: [RingCase] = all.filter { $0.size == ($0.features.format == .split ? 8 : 7) }
}

/// Where the parts of a test queue lie. The offsets are those of the specification, written down independently of the module.
struct TestLayout {
    var configuration: QueueConfiguration
    var tables: IndirectTables
    /// The first byte behind the rings and tables.
    var data: UInt64

    init(_ ring: RingCase) {
        let size = UInt64(ring.size)
        configuration = QueueConfiguration(maxSize: 32768)
        configuration.size = ring.size
        configuration.ready = true
        configuration.descriptorArea = TestMemory.address
        configuration.driverArea = TestMemory.address + 16 * size
        configuration.deviceArea = (configuration.driverArea + 6 + 2 * size + 15) & ~15
        tables = IndirectTables(address: (configuration.deviceArea + 6 + 8 * size + 15) & ~15, entries: min(ring.size, 8))
        data = (tables.address + UInt64(tables.byteCount(size: ring.size)) + 4095) & ~4095
    }

    func memory(dataBytes: Int) -> TestMemory { TestMemory(count: Int(data - TestMemory.address) + dataBytes) }
}

/// A position for both sides from which a 16-bit index (or the wrap counter of a packed ring) soon wraps.
func positionBeforeWrap(_ ring: RingCase, by distance: Int) -> QueuePosition {
    switch ring.features.format {
    case .split:
        let index = UInt16(truncatingIfNeeded: 65536 - distance)
        return QueuePosition(available: index, used: index)
    case .packed:
        let index = UInt16(max(0, Int(ring.size) - max(1, distance)))
        return QueuePosition(available: index, availableWrap: false, used: index, usedWrap: false)
    }
}
