public import GuestMemory
public import Host
import Hypervisor
import Machine
public import Schema
public import Snapshot
import Synchronization

/// What a machine has saved of itself.
public struct SavedMachine: Sendable {
    /// The content of `state.json`.
    public let state: JSONValue
    /// What was written to the file for RAM.
    public let image: MemoryImage
    /// The maker of the processor that the guest has seen.
    public let cpuVendor: String
    /// What the guest was told of its first processor, as text.
    public let cpuDescription: String
    /// Whether the pages to write were known from tracking, rather than found by comparison.
    public let usedTracking: Bool
}

/// The snapshot that a snapshot of changes lies on.
public struct SavedBase: Sendable {
    /// Its identity.
    public let digest: String
    /// RAM as it was then: the files that have it, the lowest first.
    public let layers: [MemoryLayer]

    /// A base.
    public init(digest: String, layers: [MemoryLayer]) {
        self.digest = digest
        self.layers = layers
    }
}

extension VirtualMachine {
    /// RAM in bytes.
    public var memorySize: UInt64 { memory.size }

    /// Saves the machine, which sleeps: RAM goes to `file`, which is new and empty, the rest is returned. With a `base` only pages that have
    /// changed since are written.
    ///
    /// `pageTables` is `OwnedDescriptor.pageTables()` of this process; `progress` is called again and again while RAM is written. After an
    /// error the file is of no use, and the machine as before.
    public func save(
        memory file: borrowing OwnedDescriptor, pageTables: borrowing OwnedDescriptor, base: SavedBase?, digest: Bool,
        progress: (@Sendable () -> Void)? = nil
    ) throws(MachineError) -> SavedMachine {
        try life.withLock { (life) throws(MachineError) in
            guard life.phase == .asleep else { throw MachineError("The machine is not asleep.") }
            let document = try state(life)
            let writer = MemoryWriter(memory, digest: digest) { [end] in
                progress?()
                return end.reason != nil
            }
            let image: MemoryImage
            var tracked = false
            do throws(SystemError) {
                if memory.tracksWrites { try life.written.collect(from: hypervisor) }
                if let base {
                    let known = try pagesWritten(since: base, life, pageTables)
                    tracked = isTracked(since: base, life)
                    image = try writer.writeDifferences(from: base.layers, among: known, to: file, pageTables: pageTables)
                } else {
                    image = try writer.writeFull(to: file, pageTables: pageTables)
                }
            } catch {
                try checkAlive(life)
                throw MachineError("RAM cannot be written (\(error)).")
            }
            let cpuid = life.cpuid.first ?? []
            return SavedMachine(
                state: document, image: image, cpuVendor: CPUIDPolicy.vendor(of: cpuid), cpuDescription: CPUState.describe(cpuid),
                usedTracking: tracked)
        }
    }

    /// Whether all that was written since `base` has been noted.
    private func isTracked(since base: SavedBase, _ life: borrowing Life) -> Bool {
        memory.tracksWrites && life.lastSaved == base.digest
    }

    /// The pages that may differ from those of `base`; nil when nobody has kept note.
    private func pagesWritten(
        since base: SavedBase, _ life: borrowing Life, _ pageTables: borrowing OwnedDescriptor
    ) throws(SystemError) -> PageSet? {
        if isTracked(since: base, life) { return life.written.pages }
        // What was restored from the base and not written since is still the file's.
        if life.restoredFrom == base.digest, memory.rawFileDescriptor == nil { return try memory.ownPages(pageTables) }
        return nil
    }

    /// The last `save` has become a whole snapshot with this identity: a later one can lie on it.
    public func noteSaved(as digest: String) {
        life.withLock { life in
            life.lastSaved = digest
            life.written.clear()
        }
    }
}
