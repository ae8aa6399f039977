import GuestMemory
import Host
import Machine
import Schema
import Snapshot
import VirtualMachine

extension SavedSnapshot {
    /// RAM as it was saved, if it belongs to the configuration. Writes to it reach no file; `isPopulated` reads all of it at once.
    func memory(of configuration: VMConfiguration, isPopulated: Bool = false) throws(VMError) -> GuestMemory {
        guard manifest.memorySize == configuration.memorySize else {
            throw VMError(
                .resource,
                "\(path)/\(SnapshotFiles.configuration): memory.size: expected \(manifest.memorySize), as the manifest says, found \(configuration.memorySize)."
            )
        }
        let ranges: [Range<UInt64>]
        do { ranges = try AddressMap(memorySize: configuration.memorySize, physicalAddressBits: 52).memory } catch {
            throw VMError(.configuration, "memory.size: \(error).")
        }
        do {
            return try GuestMemory(
                ranges: ranges, layers: layers, isShared: configuration.sharesMemory,
                tracksWrites: configuration.tracksWrites && !configuration.sharesMemory, isPopulated: isPopulated)
        } catch {
            throw VMError(.resource, "\(path)/\(SnapshotFiles.memory): cannot be used as RAM (\(error)).")
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
