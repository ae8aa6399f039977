import CLinux
import Devices
import Host
import Virtio

/// Opens, checks and locks the image of a block device.
func makeBlockDevice(_ settings: BlockSettings, id: String, key: String, packedRing: Bool) throws(VMError) -> any VirtioDevice {
    let access = settings.readOnly ? O_RDONLY : O_RDWR
    let expected = settings.readOnly ? "a readable disk image" : "a disk image that can be read and written"
    // The image is opened without O_DIRECT first: a second descriptor serves what direct I/O cannot.
    let image = try openConfigured(settings.path, "\(key).path", flags: access | O_NONBLOCK, expected: expected)
    do {
        _ = try BlockImage.inspect(image, named: settings.path, blockSize: settings.blockSize)
        try BlockImage.lock(image, named: settings.path, readOnly: settings.readOnly)
    } catch {
        throw VMError(.resource, "\(key).path: \(error)")
    }
    var direct: OwnedDescriptor?
    if settings.direct {
        direct = try openConfigured(
            settings.path, "\(key).direct", flags: access | OwnedDescriptor.direct, expected: "a file system that supports direct I/O")
    }
    var configuration = settings.configuration(image: image, id: id, packedRing: packedRing)
    configuration.directImage = direct
    do {
        return try BlockDevice(configuration)
    } catch {
        throw VMError(.resource, "\(key): \(error)")
    }
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
        configuration.packedRing = packedRing
        return configuration
    }
}
