import Host
import Virtio
import Virtqueue

/// A disk in memory (virtio 1.3, 5.2).
struct MemoryDisk: AsyncDevice, ~Copyable {
    private static let sector = 512
    private var content: ByteBuffer

    private enum Status {
        static let ok: UInt8 = 0
        static let failed: UInt8 = 1
        static let unsupported: UInt8 = 2
    }

    /// A device that any transport takes, of `sectors` sectors of 512 bytes.
    static func device(label: String, sectors: Int) throws(DeviceError) -> AsyncDeviceHost<MemoryDisk> {
        var profile = DeviceProfile(.block, label: label, queueMaxSizes: [128])
        // VIRTIO_BLK_F_FLUSH, so that the driver knows: what it flushes is as safe as it will ever be.
        profile.features.insert(Features(bit: 9))
        // `capacity`, the first field of the configuration space (5.2.4).
        profile.configuration = (0..<8).map { UInt8(truncatingIfNeeded: sectors >> ($0 * 8)) }
        return try AsyncDeviceHost(profile, MemoryDisk(sectors: sectors))
    }

    init(sectors: Int) {
        content = ByteBuffer(count: sectors * Self.sector)
        content.range().fill(0)
    }

    mutating func run(_ device: RunningDevice) async {
        guard var requests = try? device.takeStream(0) else { return }
        while var request = await requests.next() {
            // The last byte is for the status. A request without one goes back with nothing written.
            guard let status = request.writable.takeTail(1) else { continue }
            status.store(serve(&request), at: 0)
            request.complete(written: request.writable.written + 1)
        }
    }

    /// Does what a request says; its status (5.2.6).
    private mutating func serve(_ request: inout GuestChain) -> UInt8 {
        guard let type = request.readable.readInteger(as: UInt32.self), request.readable.skip(4) == 4,
            let sector = request.readable.readInteger(as: UInt64.self)
        else { return Status.failed }
        switch type {
        case 0:  // VIRTIO_BLK_T_IN
            let count = request.writable.count
            guard let place = place(of: sector, count: count) else { return Status.failed }
            request.writable.write(content.bytes(from: place, count: count))
        case 1:  // VIRTIO_BLK_T_OUT
            let count = request.readable.count
            guard let place = place(of: sector, count: count) else { return Status.failed }
            var target = content.mutableBytes(from: place, count: count)
            request.readable.read(into: &target)
        case 4:  // VIRTIO_BLK_T_FLUSH
            break
        case 8:  // VIRTIO_BLK_T_GET_ID
            let name = Array("a disk in memory".utf8) + [0, 0, 0, 0]
            request.writable.write(name.span.untyped)
        default:
            return Status.unsupported
        }
        return Status.ok
    }

    /// Where a request's bytes lie; nil when they are not whole sectors of the disk. Both numbers come from the driver: any value is possible.
    private func place(of sector: UInt64, count: Int) -> Int? {
        let sectors = content.count / Self.sector
        guard count % Self.sector == 0, let first = Int(exactly: sector), first <= sectors, count / Self.sector <= sectors - first else {
            return nil
        }
        return first * Self.sector
    }
}
