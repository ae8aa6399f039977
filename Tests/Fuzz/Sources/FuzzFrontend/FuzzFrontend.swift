import FuzzSupport
import Host
import Synchronization
import VhostUser
import Virtio

/// The script of a hostile back-end, against a front-end that goes through its life.
///
/// The first byte says what the front-end is like, the second how many things are done with it; a byte for each of them follows (`Owner`),
/// and then what its back-ends answer, step by step (`HostileBackEnd`).
@main
enum FuzzFrontend {
    static func main() { FuzzTarget(seeds: { Seeds.all }) { try feed($0) }.main() }

    private static func feed(_ input: [UInt8]) throws {
        var script = Script(input)
        let kind = Kind(script.byte())
        let actions = script.take(Int(script.byte()) % 24)
        let answers = Answers(script.rest())
        let backEnd = try HostileBackEnd(answers)
        // Whoever it greets may be none: that is an error, and the end.
        guard let frontend = try greet(backEnd, kind) else { return }
        let owner = try Owner(frontend, answers, isPacked: kind.isPacked)
        for action in actions { try owner.perform(action) }
    }

    private static func greet(_ backEnd: HostileBackEnd, _ kind: Kind) throws -> VhostUserFrontend? {
        let socket = try backEnd.socket()
        let events = FrontendEvents { error in
            guard error.description.hasSuffix(".") else { fatalError("No sentence: \(error)") }
        }
        do throws(VhostUserError) { return try VhostUserFrontend(socket, kind.profile, events: events) } catch {
            guard error.description.hasSuffix(".") else { fatalError("No sentence: \(error)") }
            return nil
        }
    }
}

/// What a front-end is like.
struct Kind {
    static let queueCount = 2
    static let queueSize: UInt16 = 64
    private let bits: UInt8

    init(_ bits: UInt8) { self.bits = bits }

    var isPacked: Bool { bits & 1 != 0 }

    var profile: FrontendProfile {
        var profile = FrontendProfile(.entropy, label: "fake", queueCount: Self.queueCount, queueSize: Self.queueSize)
        profile.configurationSize = bits & 2 != 0 ? 0 : 60
        profile.isStateless = bits & 4 != 0
        if bits & 8 != 0 { profile.configuration = [1, 2, 3] }
        // Another may come, but nobody waits for it.
        if bits & 16 != 0 { profile.recovery = 0 }
        // Only against a hang: the back-end leaves long before.
        profile.patience = 2000
        return profile
    }
}
