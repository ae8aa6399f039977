import Host
import Machine
import Schema
import Snapshot
import VirtualMachine

/// A VM's machine as its supervisor has it: in the same process (`LocalMachine`), or behind messages in a jailed one (`RemoteMachine`).
protocol MachineControl: AnyObject, Sendable {
    /// Where it is in its life; answers at once.
    var phase: MachinePhase { get }
    /// Becomes readable when the machine has come to its end.
    var endEvent: EventFD { get }
    /// Why it has; nil while it runs.
    var endReason: MachineEnd? { get }
    /// The VM Generation ID that the guest sees, as text; nil when nobody knows.
    var generationID: String? { get }
    /// What each virtio device is and how it fares.
    var deviceReport: [JSONValue] { get }

    /// Puts it to sleep; false when it slept already.
    func sleep() throws(VMError) -> Bool
    /// Wakes it; false when it was awake already.
    func wake() throws(VMError) -> Bool
    /// Saves it while it sleeps: RAM goes to `memory`, the text of `state.json` to `state`; both are new and empty files.
    func save(
        memory: borrowing OwnedDescriptor, state: borrowing OwnedDescriptor, base: SavedBase?, digest: Bool
    ) throws(VMError) -> SavedImage
    /// What was saved last has become a whole snapshot with this identity.
    func noteSaved(as identity: String)
    /// Presses the guest's power button.
    func pressPowerButton()
    /// The terminal that a console has is as large now.
    func resizeConsole(to size: WindowSize)
    /// Stops it, lets its serial port's last words go out, and says why it ended. Harmless when it has ended already.
    func stop() -> MachineEnd
}

/// What was written of a machine, beside the two files.
struct SavedImage: Sendable, Equatable {
    /// What is in the file for RAM.
    let image: MemoryImage
    /// The maker of the processor that the guest has seen.
    let cpuVendor: String
    /// SHA-256 of what the guest was told of its first processor, in hex.
    let cpuFingerprint: String
    /// Whether the pages to write were known from tracking, rather than found by comparison.
    let usedTracking: Bool
}
