import Synchronization

/// The function in slot 0 that stands for the machine itself. It has no registers of its own.
final class PCIHostBridge: PCIFunction {
    /// Red Hat's generic host bridge, for which no guest has quirks.
    private let space = Mutex(
        PCIConfigurationSpace(
            PCIConfigurationSpace.Identity(vendor: 0x1b36, device: 0x0008, revision: 0, classCode: 0x06_0000)))

    func readConfiguration(at offset: Int, width: Int) -> UInt32 { space.withLock { $0.read(at: offset, width: width) } }

    func writeConfiguration(_ value: UInt32, at offset: Int, width: Int) {
        space.withLock { $0.write(value, at: offset, width: width) }
    }
}
