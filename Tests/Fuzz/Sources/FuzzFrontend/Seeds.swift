import FuzzSupport

/// Scripts to begin with: the whole life of a front-end behind a good back-end, and one bad answer at each place of it.
enum Seeds {
    private typealias Action = Owner.Action
    private typealias Step = HostileScript.Step

    static var all: [[UInt8]] { lives.flatMap { life in kinds.map { [$0] + life + good } } + bad }

    /// Split and packed rings, without and with what is optional.
    private static let kinds: [UInt8] = [0, 1, 2 | 4, 1 | 8 | 16]
    private static let good = [UInt8](repeating: Step.well.rawValue, count: 100)

    private static func life(_ actions: Action...) -> [UInt8] { [UInt8(actions.count)] + actions.map(\.rawValue) }

    private static let lives = [
        life(.acknowledge, .read, .write, .activate, .stopQueue, .startQueue, .sleep, .wake, .reset),
        life(.acknowledge, .activate, .sleep, .save, .load, .wake, .control, .reset, .activate),
        life(.activate, .recover, .read, .handOver, .sleep, .wake, .giveUp, .reset),
    ]

    private static var bad: [[UInt8]] {
        let ways: [[UInt8]] = [
            [Step.number.rawValue, 1, 0, 0, 0, 0, 0, 0, 0], [Step.payload.rawValue, 2, 0, 0], [Step.header.rawValue, 1],
            [Step.bytes.rawValue, 12, 1, 0, 0, 0, 5, 0, 0, 0, 0, 16, 0, 0], [Step.silence.rawValue],
            [HostileScript.channelBit, 0], [HostileScript.descriptorBit],
        ]
        return (0..<40).map { place in
            [kinds[place % 2]] + lives[place % lives.count] + good.prefix(place) + ways[place % ways.count] + good
        }
    }
}
