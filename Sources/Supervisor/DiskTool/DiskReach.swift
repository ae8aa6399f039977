import CLinux
import Devices
import Host
import Vhost
import Virtio
public import VirtioDriver

/// Where a disk is that a person wants to look at from the host.
public enum DiskReach: Sendable, Equatable {
    /// Behind a vhost-user back-end that listens at a path.
    case vhostUser(String)
    /// A vDPA device of the kernel: `/dev/vhost-vdpa-N`.
    case vhostVdpa(String)
    /// In an image: our own device serves it, in this process.
    case file(String)

    /// What messages call it.
    public var name: String {
        switch self {
        case .vhostUser(let path), .vhostVdpa(let path), .file(let path): path
        }
    }

    private var isImage: Bool { if case .file = self { true } else { false } }

    /// Opens it.
    ///
    /// - Throws: `.resource` when nobody is there, or it is no disk.
    public func open(readOnly: Bool, queueSize: UInt16 = 128) throws(VMError) -> OpenDisk {
        let transport = try makeTransport(readOnly: readOnly)
        do throws(DriverError) {
            let driver = try BlockDriver(transport, queueSize: queueSize)
            return OpenDisk(name: name, isImage: isImage, driver: driver, information: try driver.information())
        } catch {
            throw VMError(.resource, "\(name): \(error)")
        }
    }

    private func makeTransport(readOnly: Bool) throws(VMError) -> any VirtioTransport {
        switch self {
        case .vhostUser(let path):
            let socket: OwnedDescriptor
            do { socket = try UnixSocket.connectWithoutWaiting(to: path) } catch {
                throw VMError(.resource, "\(path): \(error.errno); expected a vhost-user back-end that takes connections.")
            }
            do throws(DriverError) { return try VhostUserTransport(socket, wanted: BlockDriver.features) } catch {
                throw VMError(.resource, "\(path): \(error)")
            }
        case .vhostVdpa(let path):
            let node = try openVdpa(path, key: "--vhost-vdpa")
            do {
                return try VhostVdpaTransport(try VhostVdpa(node), wanted: BlockDriver.features)
            } catch {
                throw VMError(.resource, "\(path): \(error)")
            }
        case .file(let path):
            let image = try openImage(path, readOnly: readOnly)
            var configuration = BlockConfiguration(image: image, label: path)
            configuration.readOnly = readOnly
            do {
                return try LoopbackTransport(try BlockDevice(configuration), wanted: BlockDriver.features)
            } catch {
                throw VMError(.resource, "\(path): \(error)")
            }
        }
    }

    private func openImage(_ path: String, readOnly: Bool) throws(VMError) -> OwnedDescriptor {
        let image: OwnedDescriptor
        do {
            image = try OwnedDescriptor.open(path, flags: (readOnly ? O_RDONLY : O_RDWR) | O_NONBLOCK)
        } catch {
            throw VMError(.resource, "\(path): \(error.errno); expected a disk image.")
        }
        do throws(BlockImageError) {
            _ = try BlockImage.inspect(image, named: path)
            try BlockImage.lock(image, named: path, readOnly: readOnly)
        } catch {
            throw VMError(.resource, error.description)
        }
        return image
    }
}

/// A disk that can be used.
public struct OpenDisk: Sendable {
    /// What messages call it.
    public let name: String
    /// Whether our own device serves it, from an image.
    let isImage: Bool
    /// Its driver.
    public let driver: BlockDriver
    /// What it said of itself when it was opened.
    public let information: BlockInformation

    /// Its size when it was opened, in bytes.
    public var capacity: UInt64 { information.capacity }

    /// Runs `body` with its first queue, and says of which disk an error is.
    func use<Result>(_ body: (inout BlockQueue) throws(DriverError) -> Result) throws(VMError) -> Result {
        do throws(DriverError) {
            var queue = try driver.takeQueue()
            return try body(&queue)
        } catch {
            throw failure(error)
        }
    }

    /// An error of the driver, for a person.
    func failure(_ error: DriverError) -> VMError {
        switch error {
        case .noData, .unaligned, .beyondEnd, .readOnly, .tooLarge, .notNegotiated: VMError(.usage, "\(name): \(error)")
        default: VMError(.failure, "\(name): \(error)")
        }
    }

    /// A part of the disk: all of it from `offset` on unless `length` says less. Bytes.
    func part(from offset: UInt64, length: UInt64?) throws(VMError) -> Range<UInt64> {
        guard offset <= information.capacity, length ?? 0 <= information.capacity - offset else {
            throw failure(.beyondEnd(offset: offset, count: length ?? 0, capacity: information.capacity))
        }
        return offset..<(length.map { offset + $0 } ?? information.capacity)
    }
}
