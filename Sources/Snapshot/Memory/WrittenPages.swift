public import GuestMemory
public import Host
public import Hypervisor

/// What has been written since RAM was last saved, by the guest and by devices.
///
/// KVM and `GuestMemory` forget what they have told. So it is kept here until the image that holds it is complete: a snapshot that fails
/// half-way loses nothing.
public struct WrittenPages: Sendable {
    /// The pages to save.
    public private(set) var pages: PageSet

    /// Nothing written yet, in this RAM.
    public init(_ memory: GuestMemory) { pages = PageSet(pageCount: memory.pageCount) }

    /// Adds what was written since the last call. The machine was made with `logDirtyPages`, its RAM with `tracksWrites`, and it is asleep.
    ///
    /// - Throws: what KVM answers; what was collected until then is kept.
    public mutating func collect(from machine: KVMVirtualMachine) throws(SystemError) {
        pages.formUnion(machine.memory.takeWritten())
        for (index, region) in machine.memory.regions.enumerated() {
            pages.insert(bitmap: try machine.dirtyLog(region: index), at: Int(region.fileOffset) / MemoryExtent.pageSize)
        }
    }

    /// Forgets them: an image with all of them is complete, or RAM was saved as a whole.
    public mutating func clear() { pages = PageSet(pageCount: pages.pageCount) }
}
