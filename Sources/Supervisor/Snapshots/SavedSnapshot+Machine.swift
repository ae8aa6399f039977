import GuestMemory
import Host
import Machine
import Schema
import Snapshot
import VirtualMachine

extension VMConfiguration {
    /// RAM with what the files of a snapshot have, the lowest first. Writes to it reach none of them; `isPopulated` reads all of it at once.
    /// `tracksWrites` as in `GuestMemory`. `path` names the snapshot in messages.
    func memory(
        of layers: [MemoryLayer], path: String, tracksWrites: Bool = false, isPopulated: Bool = false
    ) throws(VMError) -> GuestMemory {
        let ranges: [Range<UInt64>]
        do { ranges = try AddressMap(memorySize: memorySize, physicalAddressBits: 52).memory } catch {
            throw VMError(.configuration, "memory.size: \(error).")
        }
        do {
            return try GuestMemory(
                ranges: ranges, layers: layers, isShared: sharesMemory, tracksWrites: tracksWrites, isPopulated: isPopulated)
        } catch {
            throw VMError(.resource, "\(path)/\(SnapshotFiles.memory): cannot be used as RAM (\(error)).")
        }
    }
}

extension SavedSnapshot {
    /// Refuses a configuration with another amount of RAM than was saved.
    func checkMemory(of configuration: VMConfiguration) throws(VMError) {
        guard manifest.memorySize == configuration.memorySize else {
            throw VMError(
                .resource,
                "\(path)/\(SnapshotFiles.configuration): memory.size: expected \(manifest.memorySize), as the manifest says, found \(configuration.memorySize)."
            )
        }
    }

    /// A saved state as the machine's.
    func machineState(_ document: JSONValue) throws(VMError) -> MachineState {
        try Self.reading(path, SnapshotFiles.state) { () throws(StateError) in try MachineState(SavedValue(document)) }
    }

    /// Has the state read by a thread.
    func beginReadingState() throws(VMError) -> PendingState {
        try VMError.host("start a thread") { () throws(SystemError) in
            try PendingState { () throws(MachineStartError) in
                do throws(VMError) { return try machineState(try readState()) } catch { throw MachineStartError(.state, error.message) }
            }
        }
    }
}

extension PendingState {
    /// Has the state in `file` read, which `SavedSnapshot.openState` has opened.
    convenience init(file: Slot<OwnedDescriptor>, expected: Manifest.File, path: String) throws(SystemError) {
        try self.init { () throws(MachineStartError) in
            guard let file = file.take() else { throw MachineStartError(.state, "was read already.") }
            do throws(VMError) { return try SavedSnapshot.readState(file, expected: expected, path: path) } catch {
                throw MachineStartError(.state, error.message)
            }
        }
    }
}
