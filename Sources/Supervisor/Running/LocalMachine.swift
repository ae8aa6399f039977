import Host
import Machine
import Schema
import Snapshot
import VirtualMachine
import Virtio

/// A machine in this process.
final class LocalMachine: MachineControl {
    private let machine: VirtualMachine
    private let serial: SerialHost
    /// Read by snapshots: opened once, because a jailed process could not.
    private let pageTables: OwnedDescriptor
    /// The console that has the terminal.
    private let terminalConsole: (any VirtioDevice)?
    /// Called again and again while RAM is saved.
    private let progress: (@Sendable () -> Void)?

    /// How long the serial port's last words may take to go out, in milliseconds.
    private static let lastWords: Int64 = 500

    init(
        _ machine: VirtualMachine, serial: SerialHost, pageTables: consuming OwnedDescriptor, terminalConsole: (any VirtioDevice)?,
        progress: (@Sendable () -> Void)?
    ) {
        self.machine = machine
        self.serial = serial
        self.pageTables = pageTables
        self.terminalConsole = terminalConsole
        self.progress = progress
    }

    /// What whoever runs a loop in this process does for the serial port.
    func serialLoop(_ poller: borrowing Poller) throws(SystemError) -> SerialLoop { try SerialLoop(machine, serial, poller) }

    var phase: MachinePhase { machine.phase }
    var endEvent: EventFD { machine.endEvent }
    var endReason: MachineEnd? { machine.endReason }
    var generationID: String? { machine.generationID }
    var deviceReport: [JSONValue] { machine.deviceReport }

    func sleep() throws(VMError) -> Bool {
        do { return try machine.sleep() } catch { throw VMError(.failure, error.description) }
    }

    func wake() throws(VMError) -> Bool {
        do { return try machine.wake() } catch { throw VMError(.failure, error.description) }
    }

    func save(
        memory: borrowing OwnedDescriptor, state: borrowing OwnedDescriptor, base: SavedBase?, digest: Bool
    ) throws(VMError) -> SavedImage {
        let saved: SavedMachine
        do {
            saved = try machine.save(memory: memory, pageTables: pageTables, base: base, digest: digest, progress: progress)
        } catch {
            throw VMError(.resource, error.description)
        }
        do { try state.writeAll(Array(JSONText.encode(saved.state).utf8)) } catch {
            throw VMError(.resource, "The state cannot be written (\(error)).")
        }
        return SavedImage(
            image: saved.image, cpuVendor: saved.cpuVendor, cpuFingerprint: SHA256.text(of: Array(saved.cpuDescription.utf8)),
            usedTracking: saved.usedTracking)
    }

    func noteSaved(as identity: String) { machine.noteSaved(as: identity) }

    func pressPowerButton() { machine.pressPowerButton() }

    func resizeConsole(to size: WindowSize) {
        try? terminalConsole?.controlNotify(["columns": .integer(Int64(size.columns)), "rows": .integer(Int64(size.rows))])
    }

    func stop() -> MachineEnd {
        let end = halt()
        drainSerial()
        return end
    }

    /// Stops it; the serial port may still have something to say.
    func halt() -> MachineEnd { machine.stop() }

    /// Lets the serial port's last words go out.
    func drainSerial() { serial.drain(milliseconds: Self.lastWords) }
}
