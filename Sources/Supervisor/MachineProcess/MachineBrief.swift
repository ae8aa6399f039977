import GuestMemory
import Schema
import Snapshot
import VirtualMachine

/// Which machine is to be made of the descriptors that come with it: all that its process has to know. The descriptors come in this order:
/// KVM; the kernel and the initrd, or the state and the files of RAM, the lowest first; what each device needs; what the serial port needs.
struct MachineBrief: Sendable {
    /// What the guest starts from.
    enum Origin: Sendable, Equatable {
        /// A kernel.
        case kernel(hasInitrd: Bool, entropy: [UInt8])
        /// A snapshot.
        case snapshot(SnapshotBrief)
    }

    /// The VM.
    let configuration: VMConfiguration
    /// The same as a document with all defaults in it.
    let document: JSONValue
    /// What messages call the configuration.
    let file: String
    let origin: Origin
    /// Whether it waits for `wake` before anything runs.
    let startsAsleep: Bool
    /// The VM Generation ID that the guest is to see.
    let generation: [UInt8]
    /// How many descriptors belong to each device.
    let deviceDescriptors: [Int]
}

/// A snapshot, as far as a machine has to know of it.
struct SnapshotBrief: Sendable, Equatable {
    /// Its directory, for messages.
    let path: String
    /// SHA-256 of its manifest.
    let identity: String
    /// The pages in each file of RAM, the lowest first.
    let layers: [[MemoryExtent]]
    /// What the file with the state must be; nil when the state comes by another way.
    let state: Manifest.File?
    /// Whether all of RAM is read at once.
    let isPopulated: Bool
    /// What the guest's clocks do about the time since then.
    let clockPolicy: ClockPolicy
}
