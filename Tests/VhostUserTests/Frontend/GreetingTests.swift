import Host
import Testing
import Virtio

@testable import VhostUser

@Suite("Front-end: meeting a back-end")
struct GreetingTests {
    typealias Script = FakeBackEnd.Script
    typealias Twist = FakeBackEnd.Twist

    static let greeting: [FrontEndRequest] = [
        .getFeatures, .getProtocolFeatures, .setProtocolFeatures, .getQueueCount, .setOwner, .getConfiguration, .setBackendRequestSocket,
    ]

    /// Why a front-end would not have a back-end that follows `script`.
    private func failure(_ script: Script, patience: Int64 = Timeout.patience) throws -> VhostUserError {
        let fake = try FakeBackEnd(script)
        return try #require(
            throws: VhostUserError.self,
            performing: { _ = try VhostUserFrontend(try fake.socket(), FrontendRig.profile(patience: patience)) })
    }

    @Test("A good back-end is asked for all there is to know, in order")
    func good() throws {
        let rig = try FrontendRig()
        #expect(rig.fake.requests == Self.greeting)
        #expect(rig.frontend.features == Features.ours.union(.ringPacked))
        #expect(rig.frontend.link.greeting.protocolFeatures == Script().protocolFeatures.intersection(VhostUserFrontend.wanted))
        #expect(rig.frontend.queueMaxSizes == [64, 64])
        #expect(rig.configuration() == (0..<60).map { UInt8($0) })
        #expect(rig.configuration(at: 58, count: 4) == [58, 59, 0, 0])
        #expect(rig.configuration(at: .max, count: 2) == [0, 0])
    }

    @Test("A back-end that leaves at any step", arguments: greeting.indices)
    func leaves(_ step: Int) throws {
        let failure = try failure(Script(steps: [step: .leave]))
        #expect(failure.kind == .departure || failure.kind == .host)
        #expect(failure.description.hasSuffix("."))
    }

    @Test("A back-end that does not answer from some step on", arguments: greeting.indices)
    func silent(_ step: Int) throws {
        let failure = try failure(Script(steps: [step: .silence]), patience: 50)
        // On a busy machine even a good answer may come too late, so it need not be this question.
        #expect(failure.kind == .silence)
        #expect(failure.description.hasPrefix("The peer does not answer, asked for "))
    }

    static let bad: [Twist] = [.wrongRequest, .noReply, .short, .long, .badVersion, .hugeSize, .cut]

    @Test("An answer that is none breaks the connection, and the sentence names the question", arguments: [0, 1, 3, 4, 5, 6], bad)
    func badAnswers(_ step: Int, _ twist: Twist) throws {
        let failure = try failure(Script(steps: [step: twist]))
        #expect(failure.kind == .violation)
        #expect(failure.description.contains(Self.greeting[step].name), "\(failure)")
        #expect(failure.description.hasSuffix("."))
    }

    @Test("A refusal of what the greeting needs", arguments: [4, 6], [1, 22, UInt64.max])
    func refusals(_ step: Int, _ number: UInt64) throws {
        let failure = try failure(Script(steps: [step: .answer(.number(number))]))
        #expect(failure == VhostUserError(.device, "The back-end refuses \(Self.greeting[step].name) (\(number))."))
    }

    @Test("A back-end that is not what the front-end needs")
    func unfit() throws {
        let legacy = try failure(Script(features: 1 << 28 | ProtocolFeatures.announcement))
        #expect(legacy.kind == .device)
        #expect(legacy.description.contains("VIRTIO_F_VERSION_1"))
        for count: UInt64 in [0, 1] {
            let failure = try failure(Script(queueCount: count))
            #expect(failure == VhostUserError(.device, "The back-end has \(count) queues; expected at least 2."))
        }
        for script in [Script(protocolFeatures: ProtocolFeatures.servedToAll.subtracting(.configuration)), Script(features: 1 << 32)] {
            let failure = try failure(script)
            #expect(failure.kind == .device)
            #expect(failure.description.contains("VHOST_USER_PROTOCOL_F_CONFIG"))
        }
    }

    @Test("An answer to GET_CONFIG that is not what was asked for")
    func badSpace() throws {
        let answers: [ConfigurationAccess?] = [
            nil, ConfigurationAccess(offset: 0, bytes: []), ConfigurationAccess(offset: 0, bytes: [UInt8](repeating: 0, count: 59)),
            ConfigurationAccess(offset: 1, bytes: [UInt8](repeating: 0, count: 60)),
        ]
        for answer in answers {
            let failure = try failure(Script(steps: [5: .answer(.configuration(answer))]))
            #expect(failure == .violation("The back-end has no configuration space of 60 bytes."))
        }
    }

    @Test("Back-ends that know little of the protocol serve devices that need no more")
    func modest() throws {
        let bare = FrontendProfile(.entropy, label: "bare", queueCount: 1, queueSize: 64)
        let old = try FakeBackEnd(Script(features: 1 << 32))
        _ = try VhostUserFrontend(try old.socket(), bare)
        // The last one has no answer: the fake may not have read it yet.
        #expect(old.requests.first == .getFeatures)
        #expect(Set(old.requests).isSubset(of: [.getFeatures, .setOwner]))

        var known = FrontendProfile(.network, label: "known", queueCount: 1, queueSize: 64)
        (known.configurationSize, known.configuration) = (3, [1, 2, 3])
        known.withheld = .ringPacked
        let plain = try FakeBackEnd(Script(protocolFeatures: []))
        let frontend = try VhostUserFrontend(try plain.socket(), known)
        #expect(frontend.features == .ours)
        var bytes: [UInt8] = [9, 9, 9, 9]
        var span = bytes.mutableSpan
        frontend.readConfiguration(at: 0, into: &span)
        #expect(bytes == [1, 2, 3, 0])
    }

    @Test("What the profile says of configuration space hides what the back-end says")
    func overlay() throws {
        let fake = try FakeBackEnd()
        var profile = FrontendRig.profile()
        profile.configuration = [0xaa, 0xbb]
        let frontend = try VhostUserFrontend(try fake.socket(), profile)
        var bytes: [UInt8] = [9, 9, 9, 9]
        var span = bytes.mutableSpan
        frontend.readConfiguration(at: 0, into: &span)
        #expect(bytes == [0xaa, 0xbb, 2, 3])
    }

    @Test("What is no socket, or nobody's, is refused")
    func noSocket() throws {
        let profile = FrontendRig.profile()
        let file = try OwnedDescriptor.open("/dev/null", flags: 2)
        let slot = Slot(file)
        let error = #expect(throws: VhostUserError.self) {
            if let file = slot.take() { _ = try VhostUserFrontend(file, profile) }
        }
        #expect(error?.kind == .host)
        let lonely = Slot(try SocketPair().first.duplicate())
        #expect(throws: VhostUserError.self) {
            if let socket = lonely.take() { _ = try VhostUserFrontend(socket, profile) }
        }
    }
}
