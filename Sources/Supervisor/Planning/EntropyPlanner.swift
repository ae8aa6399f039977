import Devices
import Virtio

/// Makes a source of entropy; nothing has to be opened for it.
func makeEntropyDevice(_ settings: EntropySettings, id: String, key: String, packedRing: Bool) throws(VMError) -> any VirtioDevice {
    var configuration = EntropyConfiguration(label: id)
    configuration.bytesPerSecond = settings.bytesPerSecond
    configuration.packedRing = packedRing
    do { return try EntropyDevice(configuration) } catch { throw VMError(.resource, "\(key): \(error)") }
}
