import GuestMemory
import Host
import Machine
import Schema
import Snapshot
import VirtualMachine

extension SavedSnapshot {
    /// The machine's typed state, and RAM as it was saved, if both belong to the configuration. Writes to the RAM reach no file;
    /// `isPopulated` reads all of it at once.
    func machine(of configuration: VMConfiguration, isPopulated: Bool = false) throws(VMError) -> (state: MachineState, memory: GuestMemory)
    {
        guard manifest.memorySize == configuration.memorySize else {
            throw VMError(
                .resource,
                "\(path)/\(SnapshotFiles.configuration): memory.size: expected \(manifest.memorySize), as the manifest says, found \(configuration.memorySize)."
            )
        }
        let state = try Self.reading(path, SnapshotFiles.state) { () throws(StateError) in try MachineState(SavedValue(self.state)) }
        guard state.cpuCount == configuration.cpuCount else {
            throw VMError(
                .resource,
                "\(path)/\(SnapshotFiles.state): cpus: expected \(configuration.cpuCount), as the configuration says, found \(state.cpuCount)."
            )
        }
        let ranges: [Range<UInt64>]
        do { ranges = try AddressMap(memorySize: configuration.memorySize, physicalAddressBits: 52).memory } catch {
            throw VMError(.configuration, "memory.size: \(error).")
        }
        do {
            return (
                state,
                try GuestMemory(ranges: ranges, layers: layers, tracksWrites: configuration.tracksWrites, isPopulated: isPopulated)
            )
        } catch {
            throw VMError(.resource, "\(path)/\(SnapshotFiles.memory): cannot be used as RAM (\(error)).")
        }
    }
}
