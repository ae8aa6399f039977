import CLinux
import Devices
import Host
import Virtio

/// Opens, checks and locks the image of a block device; with direct I/O, once more for that.
func openBlockDevice(_ settings: BlockSettings, image path: String, key: String) throws(VMError) -> PassedDescriptors {
    let access = settings.readOnly ? O_RDONLY : O_RDWR
    let expected = settings.readOnly ? "a readable disk image" : "a disk image that can be read and written"
    var descriptors = PassedDescriptors()
    // The image is opened without O_DIRECT first: a second descriptor serves what direct I/O cannot.
    let image = try openConfigured(path, "\(key).path", flags: access | O_NONBLOCK, expected: expected)
    do {
        _ = try BlockImage.inspect(image, named: path, blockSize: settings.blockSize)
        try withPatience(while: { if case .locked = $0 { true } else { false } }) { () throws(BlockImageError) in
            try BlockImage.lock(image, named: path, readOnly: settings.readOnly)
        }
    } catch {
        throw VMError(.resource, "\(key).path: \(error)")
    }
    if settings.direct {
        let direct = try openConfigured(
            path, "\(key).direct", flags: access | OwnedDescriptor.direct, expected: "a file system that supports direct I/O")
        if !settings.readOnly {
            do { try BlockImage.shareLock(of: image, with: direct, named: path) } catch {
                throw VMError(.resource, "\(key).path: \(error)")
            }
        }
        descriptors.append(image)
        descriptors.append(direct)
    } else {
        descriptors.append(image)
    }
    return descriptors
}

extension BlockSettings {
    /// What the driver is to see, on an image.
    func configuration(image: consuming OwnedDescriptor, id: String, packedRing: Bool) -> BlockConfiguration {
        var configuration = BlockConfiguration(image: image, label: id)
        configuration.readOnly = readOnly
        configuration.serial = serial ?? String(id.prefix(20))
        configuration.queues = queues
        configuration.queueSize = queueSize
        configuration.blockSize = blockSize
        configuration.engine = engine
        configuration.pollNanoseconds = UInt64(clamping: pollMicroseconds) * 1000
        configuration.packedRing = packedRing
        return configuration
    }
}
