import Host
import Testing

@testable import VhostUser

/// Something that a front-end must not do, and what the back-end says about it.
struct Misdeed: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// Stands in the sentence: mostly the name of the request.
    let sentence: String
    let act: @Sendable (RawDriver) throws -> Void

    init(_ name: String, _ sentence: String, _ act: @escaping @Sendable (RawDriver) throws -> Void) {
        testDescription = name
        self.sentence = sentence
        self.act = act
    }

    /// One message is wrong, after a greeting.
    init(_ name: String, _ sentence: String, _ message: FrontEndMessage) {
        self.init(name, sentence) { driver in
            try driver.greet()
            try driver.peer.send(message)
        }
    }

    static let all = framing + negotiation + rings + running + MemoryMisdeeds.all + LogMisdeeds.all

    // MARK: Single messages

    private static let framing = [
        Misdeed("An unknown request", "Request 99 is not known") { try $0.peer.send(MessageHeader(request: 99, size: 0), []) },
        Misdeed("A reply", "GET_FEATURES came as a reply") {
            try $0.peer.send(MessageHeader(request: 1, isReply: true, size: 8), [UInt8](repeating: 0, count: 8))
        },
        Misdeed("Version 2", "has version 2") { try $0.peer.send(bytes: [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]) },
        Misdeed("A huge payload", "4097 bytes") { try $0.peer.send(bytes: [2, 0, 0, 0, 1, 0, 0, 0, 1, 16, 0, 0]) },
        Misdeed("A payload too long", "GET_FEATURES with 8 bytes") {
            try $0.peer.send(MessageHeader(request: 1, size: 8), [UInt8](repeating: 0, count: 8))
        },
        Misdeed("A payload too short", "SET_FEATURES with 7 bytes") {
            try $0.peer.send(MessageHeader(request: 2, size: 7), [UInt8](repeating: 0, count: 7))
        },
        Misdeed("A header cut in the middle", "in the middle of a message") {
            try $0.peer.send(bytes: Array(FrontEndMessage.getFeatures.bytes().prefix(7)))
            $0.peer.leave()
        },
        Misdeed("A payload cut in the middle", "in the middle of a message") {
            try $0.peer.send(bytes: FrontEndMessage.setFeatures(0).bytes().dropLast())
            $0.peer.leave()
        },
        Misdeed("A header without its payload", "in the middle of a message") {
            try $0.peer.send(bytes: Array(FrontEndMessage.setFeatures(0).bytes().prefix(12)))
            $0.peer.leave()
        },
        Misdeed("A descriptor with the payload", "Descriptors came in the middle of a message") {
            let bytes = FrontEndMessage.setRingCall($0.queue.present).bytes()
            try $0.peer.send(bytes: Array(bytes.prefix(12)))
            try $0.peer.send(bytes: Array(bytes.dropFirst(12)), passing: [$0.queue.call.rawValue])
        },
        Misdeed("A descriptor with the rest of a header", "Descriptors came in the middle of a message") {
            let bytes = FrontEndMessage.setRingCall($0.queue.present).bytes()
            try $0.peer.send(bytes: Array(bytes.prefix(5)))
            // The kernel may put both into one read.
            try $0.peer.waitUntilRead()
            try $0.peer.send(bytes: Array(bytes.dropFirst(5)), passing: [$0.queue.call.rawValue])
        },
        Misdeed("A descriptor where none belongs", "GET_FEATURES came with 1") {
            try $0.peer.send(.getFeatures, passing: [$0.queue.call.rawValue])
        },
        Misdeed("A descriptor that was said to be absent", "SET_VRING_CALL came with 1") {
            try $0.peer.send(.setRingCall(RingDescriptor(index: 0, isPresent: false)), passing: [$0.queue.call.rawValue])
        },
    ]

    private static let negotiation = [
        Misdeed("A feature that was not offered", "SET_FEATURES has 0x8000000000000000", .setFeatures(1 << 63 | 1 << 32)),
        Misdeed("A protocol feature that was not offered", "SET_PROTOCOL_FEATURES has 0x4", .setProtocolFeatures(0b1111)),
        Misdeed("A status of more than 8 bits", "SET_STATUS has 256", .setStatus(256)),
        Misdeed("A channel without its socket", "SET_BACKEND_REQ_FD came with 0", .setBackendRequestSocket),
        Misdeed("Configuration space past the end", "GET_CONFIG with") {
            let head: [UInt8] = [0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0]
            try $0.peer.send(MessageHeader(request: 24, size: head.count), head)
        },
    ]

    // MARK: Rings

    private static let rings =
        [1, 64, UInt32.max].flatMap { index in
            [
                FrontEndMessage.setRingSize(RingState(index: index, value: 64)), .setRingBase(RingState(index: index, value: 0)),
                .getRingBase(RingState(index: index, value: 0)), .setRingEnable(RingState(index: index, value: 1)),
                .setRingAddresses(RingAddresses(index: index, descriptorArea: 0, deviceArea: 0, driverArea: 0)),
            ].map { Misdeed("\($0.request.name) for queue \(index)", $0.request.name, $0) }
        }
        + [1, UInt32(255)].flatMap { index in
            let ring = RingDescriptor(index: index, isPresent: true)
            return [FrontEndMessage.setRingKick(ring), .setRingCall(ring), .setRingError(ring)].map { message in
                Misdeed("\(message.request.name) for queue \(index)", message.request.name) {
                    try $0.greet()
                    try $0.peer.send(message, passing: [$0.queue.call.rawValue])
                }
            }
        }
        + [0, 65, 0x1_0040, UInt32.max].map { size in
            Misdeed("A ring of \(size)", "SET_VRING_NUM gives queue 0 \(size)", .setRingSize(RingState(index: 0, value: size)))
        }
        + [
            Misdeed("Half enabled", "SET_VRING_ENABLE has 2", .setRingEnable(RingState(index: 0, value: 2))),
            Misdeed(
                "A doorbell to be polled", "SET_VRING_KICK for queue 0",
                .setRingKick(RingDescriptor(index: 0, isPresent: false))),
            Misdeed(
                "A doorbell that did not come", "SET_VRING_KICK came with 0", .setRingKick(RingDescriptor(index: 0, isPresent: true))),
        ]

    private static let running =
        [
            ("SET_VRING_NUM", FrontEndMessage.setRingSize(RingState(index: 0, value: 32))),
            ("SET_VRING_BASE", .setRingBase(RingState(index: 0, value: 0))),
            ("SET_FEATURES", .setFeatures(1 << 32 | 1 << 29 | 1 << 30)),
            ("SET_VRING_ADDR", .setRingAddresses(RingAddresses(index: 0, descriptorArea: 0, deviceArea: 0, driverArea: 0))),
        ].map { name, message in
            Misdeed("\(name) while the ring runs", name) {
                try $0.start()
                try $0.peer.send(message)
            }
        } + [
            Misdeed("A new doorbell while the ring runs", "SET_VRING_KICK for queue 0, which is running") {
                try $0.start()
                try $0.peer.send(.setRingKick($0.queue.present), passing: [$0.queue.kick.rawValue])
            }
        ]
}
