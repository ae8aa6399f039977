import Host
import Machine

/// The two events by which the serial port reaches whoever runs the machine's loop.
struct SerialFlusher: Sendable {
    /// Made before the port, which signals them.
    struct Events: Sendable {
        /// Output has begun to wait.
        let pending: EventFD
        /// Refused input would be taken now.
        let room: EventFD

        init() throws(SystemError) {
            pending = try EventFD()
            room = try EventFD()
        }
    }
    let events: Events
    let serial: Serial16550

    init(_ events: Events, serial: Serial16550) {
        self.events = events
        self.serial = serial
    }
}
