import Glibc
import Host
import Virtio
import Virtqueue

@testable import Devices

/// A block driver for tests on top of `DeviceHarness`.
final class BlockHarness {
    /// The variants that every test of the data path runs with.
    struct Variant: CustomStringConvertible, Sendable {
        var rings: DeviceHarness.Rings
        var engine: BlockSettings.Engine
        /// Whether workers look for requests themselves before they sleep.
        var polls = false
        var description: String { "\(engine.rawValue)\(polls ? ", polling" : ""), \(rings)" }

        static let polling = DeviceHarness.Rings.local.flatMap { rings in
            [BlockSettings.Engine.uring, .sync].map { Variant(rings: rings, engine: $0, polls: true) }
        }
        static let all =
            DeviceHarness.Rings.both.flatMap { rings in
                [BlockSettings.Engine.auto, .uring, .sync].map { Variant(rings: rings, engine: $0) }
            } + polling
    }

    /// A request on its way.
    struct Request {
        var token: UInt16
        var queue: Int
        var data: UInt64
        var dataCount: Int
        var status: UInt64
    }

    enum Kind {
        static let read: UInt32 = 0
        static let write: UInt32 = 1
        static let flush: UInt32 = 4
        static let identity: UInt32 = 8
        static let discard: UInt32 = 11
        static let writeZeroes: UInt32 = 13
    }

    static let ok: UInt8 = 0
    static let ioError: UInt8 = 1
    static let unsupported: UInt8 = 2

    let harness: DeviceHarness
    let file: OwnedDescriptor
    var device: BlockDevice

    /// A device over `file`, activated. `change` adapts the configuration.
    init(
        _ variant: Variant, file: consuming OwnedDescriptor, features: (Features) -> Features = { $0 },
        activate: Bool = true, configure change: (inout BlockConfiguration) throws -> Void = { _ in }
    ) throws {
        device = try Self.makeDevice(variant, file, change)
        self.file = file
        harness = try DeviceHarness(device, rings: variant.rings, features: features(device.features))
        if activate { try harness.activate() }
    }

    static func makeDevice(
        _ variant: Variant, _ file: borrowing OwnedDescriptor, _ change: (inout BlockConfiguration) throws -> Void = { _ in }
    ) throws -> BlockDevice {
        var configuration = BlockConfiguration(image: try file.duplicate(), label: "disk")
        configuration.serial = "serial-0123456789"
        configuration.engine = variant.engine
        configuration.packedRing = true
        // Long: what is published without a doorbell is to be found by looking.
        if variant.polls { configuration.pollNanoseconds = 200_000_000 }
        try change(&configuration)
        return try BlockDevice(configuration)
    }

    static func header(_ type: UInt32, sector: UInt64) -> [UInt8] {
        littleEndian(type) + littleEndian(UInt32(0)) + littleEndian(sector)
    }

    static func littleEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
        (0..<MemoryLayout<T>.size).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    static func range(_ sector: UInt64, _ sectors: UInt32, flags: UInt32 = 0) -> [UInt8] {
        littleEndian(sector) + littleEndian(sectors) + littleEndian(flags)
    }

    /// Sends a request whose data, if any, is cut into `pieces` buffers.
    func send(
        _ type: UInt32, sector: UInt64 = 0, output: [UInt8] = [], input: Int = 0, pieces: Int = 1, queue: Int = 0, alignment: UInt64 = 512,
        kick: Bool = true
    ) throws -> Request {
        let header = harness.place(Self.header(type, sector: sector))
        let data = output.isEmpty ? harness.allocate(input, alignment: alignment) : harness.place(output, alignment: alignment)
        let status = harness.place([0xff])
        func buffers(_ count: Int) -> [DriverBuffer] {
            guard count > 0 else { return [] }
            let size = max(count / max(pieces, 1), 1)
            return stride(from: 0, to: count, by: size).map {
                DriverBuffer(address: data + UInt64($0), count: UInt32(min(size, count - $0)))
            }
        }
        let readable = [DriverBuffer(address: header, count: 16)] + buffers(output.count)
        let writable = buffers(input) + [DriverBuffer(address: status, count: 1)]
        guard let token = try harness.submit(queue: queue, readable: readable, writable: writable, kick: kick) else {
            throw Timeout("room in the queue")
        }
        return Request(token: token, queue: queue, data: data, dataCount: input, status: status)
    }

    /// Waits for a request; its status, and how many bytes the device claims to have written.
    func finish(_ request: Request) throws -> (status: UInt8, written: UInt32) {
        let written = try harness.wait(queue: request.queue, request.token)
        return (harness.bytes(at: request.status, count: 1)[0], written)
    }

    /// Sends a request and waits for its status.
    func status(
        _ type: UInt32, sector: UInt64 = 0, output: [UInt8] = [], input: Int = 0, pieces: Int = 1, queue: Int = 0, alignment: UInt64 = 512
    ) throws -> UInt8 {
        try finish(send(type, sector: sector, output: output, input: input, pieces: pieces, queue: queue, alignment: alignment)).status
    }

    /// What the image holds.
    func stored(at offset: Int, count: Int) throws -> [UInt8] { try file.bytes(at: offset, count: count) }

    /// Whether the image holds nothing there.
    func isHole(at offset: Int, count: Int) -> Bool { file.isHole(at: offset, count: count) }

    /// Reads sectors; nil when that failed.
    func read(sector: UInt64, count: Int, pieces: Int = 1, queue: Int = 0, alignment: UInt64 = 512) throws -> [UInt8]? {
        let request = try send(Kind.read, sector: sector, input: count, pieces: pieces, queue: queue, alignment: alignment)
        return try finish(request).status == Self.ok ? harness.bytes(at: request.data, count: count) : nil
    }
}
