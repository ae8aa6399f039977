import Host
import VhostUser

/// The machine that talks to the back-ends of devices, in processes of ours or of others.
protocol DeviceHolder: AnyObject, Sendable {
    /// Gives a device to another back-end, in the place of one that has ended; the `turn`th that the device has.
    func recover(_ id: String, turn: Int, _ socket: borrowing OwnedDescriptor) throws(VMError)
    /// Gives a device to another back-end, the `turn`th that it has; after an error the old one has it still, or none.
    func handOver(_ id: String, turn: Int, to socket: borrowing OwnedDescriptor) throws(VMError)
    /// No other back-end will come: whoever waits for one need not.
    func giveUp(_ id: String)
    /// What ended the connection to a device's back-end, as a sentence; nil while it works.
    func failure(of id: String) throws(VMError) -> String?
    /// A device's back-end has let go of it; what follows from that.
    func noteLeft(_ id: String) throws(VMError) -> VhostUserFrontend.Departure
}

/// The front-ends of a machine's devices.
final class FrontendTable: DeviceHolder {
    private let frontends: [String: VhostUserFrontend]
    private let lost: @Sendable (LostBackEnd) -> Void

    /// The front-ends by the devices' ids. `lost` is told of the back-ends that they get.
    init(_ frontends: [String: VhostUserFrontend], lost: @escaping @Sendable (LostBackEnd) -> Void) {
        self.frontends = frontends
        self.lost = lost
    }

    private func frontend(_ id: String) throws(VMError) -> VhostUserFrontend {
        guard let frontend = frontends[id] else { throw VMError(.failure, "There is no device \"\(id)\".") }
        return frontend
    }

    func recover(_ id: String, turn: Int, _ socket: borrowing OwnedDescriptor) throws(VMError) {
        let frontend = try frontend(id)
        let copy = try VMError.host("keep a socket") { () throws(SystemError) in try socket.duplicate() }
        do { try frontend.recover(copy, events: .telling(lost, id, turn)) } catch { throw VMError(.failure, "\(error)") }
    }

    func handOver(_ id: String, turn: Int, to socket: borrowing OwnedDescriptor) throws(VMError) {
        let frontend = try frontend(id)
        let copy = try VMError.host("keep a socket") { () throws(SystemError) in try socket.duplicate() }
        do { try frontend.handOver(to: copy, events: .telling(lost, id, turn)) } catch { throw VMError(.failure, "\(error)") }
    }

    func giveUp(_ id: String) { frontends[id]?.giveUp() }
    func failure(of id: String) throws(VMError) -> String? { try frontend(id).failure?.description }
    func noteLeft(_ id: String) throws(VMError) -> VhostUserFrontend.Departure { try frontend(id).noteLeft() }
}
