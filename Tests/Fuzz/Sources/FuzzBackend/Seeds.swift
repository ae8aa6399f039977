import FuzzSupport
import VhostUser

/// Scripts to begin with: every message to a back-end with running queues and to one that knows nothing yet, and requests to each device.
enum Seeds {
    private typealias Step = Conversation.Step

    static var all: [[UInt8]] { messages + DeviceKind.allCases.flatMap { [split($0), packed($0), state($0), notes($0)] } }

    private static func step(_ step: Step, _ arguments: UInt8...) -> [UInt8] { [step.rawValue] + arguments }

    private static func message(_ message: FrontEndMessage, passing descriptors: [UInt8] = [], reading state: [UInt8] = []) -> [UInt8] {
        let index = FrontEndRequest.allCases.firstIndex(of: message.request) ?? 0
        let payload = message.payload
        return step(.message, UInt8(index), 1) + bytes(of: UInt16(payload.count)) + payload + [UInt8(descriptors.count)] + descriptors
            + state
    }

    private static let messages: [[UInt8]] = Messages.all.enumerated().flatMap { index, message in
        // The kinds that may do: RAM for memory, an event for rings, a socket for the channel.
        let passed: [UInt8] =
            switch message {
            case .setMemoryTable(let regions): Array(repeating: Passed.ram.rawValue, count: min(regions.count, 39))
            case .addMemoryRegion, .setInFlight: [Passed.ram.rawValue]
            case .setRingKick(let ring), .setRingCall(let ring), .setRingError(let ring): ring.isPresent ? [Passed.event.rawValue] : []
            case .setBackendRequestSocket: [Passed.socket.rawValue]
            case .setDeviceStateDescriptor: [Passed.writer.rawValue]
            default: []
            }
        let kind = [UInt8(index % DeviceKind.allCases.count) | 0x80]
        let sent = Self.message(message, passing: passed)
        return [kind + sent, kind + step(.greet) + sent + step(.start, 0) + step(.settle) + sent]
    }

    /// A write of a disk, in three descriptors; other devices take of it what they do.
    private static func split(_ kind: DeviceKind) -> [UInt8] {
        [kind.rawValue] + step(.greet) + step(.start, 0) + step(.settle) + request(packed: false) + step(.publish, 0, 0) + step(.kick, 0)
            + step(.stop, 0) + step(.start, 0) + step(.publish, 0, 2) + step(.kick, 0)
    }

    private static func packed(_ kind: DeviceKind) -> [UInt8] {
        [kind.rawValue] + step(.greetPacked)
            + message(.setRingBase(RingState(index: 0, value: 0x8000_8000))) + step(.start, 0) + step(.settle) + request(packed: true)
            + step(.kick, 0) + step(.stop, 0)
    }

    private static func request(packed: Bool) -> [UInt8] {
        // Available in the first round: bit 7 set, bit 15 not.
        let available: UInt16 = packed ? 0x80 : 0
        let slot: UInt8 = packed ? 0x40 : 0
        let parts: [(UInt16, UInt16, UInt16)] = [(0x8000, 16, 1), (0x8100, 512, 1), (0x8400, 1, 2)]
        var result = step(.write, 0, 0x80, 16)
        result += bytes(of: UInt32(1)) + bytes(of: UInt32(0))
        result += bytes(of: UInt64(1))
        for (index, part) in parts.enumerated() {
            result += step(.describe, 0, slot | UInt8(index))
            result += bytes(of: part.0) + bytes(of: part.1)
            result += bytes(of: part.2 | available)
            result.append(UInt8(index + 1))
        }
        return result
    }

    /// A state is saved, and an empty object refused or taken over.
    private static func state(_ kind: DeviceKind) -> [UInt8] {
        [kind.rawValue] + step(.greet) + message(.setDeviceStateDescriptor(DeviceStateTransfer(.save)), passing: [Passed.writer.rawValue])
            + message(.checkDeviceState)
            + message(.setDeviceStateDescriptor(DeviceStateTransfer(.load)), passing: [Passed.reader.rawValue], reading: [2, 0x7b, 0x7d])
            + message(.checkDeviceState) + message(.getReason)
    }

    /// Requests in flight are noted in RAM.
    private static func notes(_ kind: DeviceKind) -> [UInt8] {
        let notes = InFlightDescription(size: 4096, offset: 0xf000, queueCount: 1, queueSize: Rings.size)
        return [kind.rawValue] + step(.greet) + message(.getInFlight(notes)) + message(.setInFlight(notes), passing: [Passed.ram.rawValue])
            + step(.start, 0) + step(.settle) + request(packed: false) + step(.publish, 0, 0) + step(.kick, 0)
    }
}
