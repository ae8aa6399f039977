/// Something that the guest told the machine as a whole.
public enum MachineEvent: Sendable, Equatable {
    /// The guest entered S5: it has shut down.
    case powerOff
    /// The guest asked for a reset of the machine.
    case reset
    /// The guest's kernel panicked; with `crashLoaded` it goes on into its crash kernel, so the machine should keep running.
    case panic(crashLoaded: Bool)
    /// A bare-metal guest ended with this code.
    case debugExit(UInt8)
}

/// Who hears of machine events: the VM's main loop.
public protocol MachineEventSink: AnyObject, Sendable {
    /// Takes note of an event. Called on the vCPU thread that caused it, with no device lock held; must not wait for vCPUs.
    func machineEvent(_ event: MachineEvent)
}
