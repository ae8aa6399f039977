import Host
import Machine
import Synchronization

/// Where the first reason to end is kept; later ones change nothing. Readable for polling from then on.
final class EndSignal: MachineEventSink {
    private let end = Mutex<MachineEnd?>(nil)
    let event: EventFD

    init() throws(SystemError) { event = try EventFD() }

    /// The reason, once there is one.
    var reason: MachineEnd? { end.withLock { $0 } }

    func raise(_ reason: MachineEnd) {
        let isFirst = end.withLock { end in
            guard end == nil else { return false }
            end = reason
            return true
        }
        if isFirst { event.signal() }
    }

    func machineEvent(_ event: MachineEvent) {
        switch event {
        case .powerOff: raise(.powerOff)
        case .reset: raise(.reset)
        // A kernel that will write a crash dump first says so, and reports the panic itself afterwards.
        case .panic(let crashLoaded): if !crashLoaded { raise(.panic) }
        case .debugExit(let code): raise(.debugExit(code))
        }
    }
}
