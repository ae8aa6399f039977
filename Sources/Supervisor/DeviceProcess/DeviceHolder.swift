import Host
import VhostUser

/// The machine that talks to the back-ends of devices, in processes of ours or of others.
protocol DeviceHolder: AnyObject, Sendable {
    /// Gives a device to another back-end, in the place of one that has ended.
    func recover(_ id: String, _ socket: borrowing OwnedDescriptor) throws(VMError)
    /// Gives a device to another back-end; after an error the old one has it still.
    func handOver(_ id: String, to socket: borrowing OwnedDescriptor) throws(VMError)
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

    /// The front-ends by the devices' ids.
    init(_ frontends: [String: VhostUserFrontend]) { self.frontends = frontends }

    private func frontend(_ id: String) throws(VMError) -> VhostUserFrontend {
        guard let frontend = frontends[id] else { throw VMError(.failure, "There is no device \"\(id)\".") }
        return frontend
    }

    func recover(_ id: String, _ socket: borrowing OwnedDescriptor) throws(VMError) {
        let frontend = try frontend(id)
        let copy = try VMError.host("keep a socket") { () throws(SystemError) in try socket.duplicate() }
        do { try frontend.recover(copy) } catch { throw VMError(.failure, "\(error)") }
    }

    func handOver(_ id: String, to socket: borrowing OwnedDescriptor) throws(VMError) {
        let frontend = try frontend(id)
        let copy = try VMError.host("keep a socket") { () throws(SystemError) in try socket.duplicate() }
        do { try frontend.handOver(to: copy) } catch { throw VMError(.failure, "\(error)") }
    }

    func giveUp(_ id: String) { frontends[id]?.giveUp() }
    func failure(of id: String) throws(VMError) -> String? { try frontend(id).failure?.description }
    func noteLeft(_ id: String) throws(VMError) -> VhostUserFrontend.Departure { try frontend(id).noteLeft() }
}
