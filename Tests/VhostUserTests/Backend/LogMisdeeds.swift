import Glibc
import Host
import Virtio

@testable import VhostUser

/// What a front-end must not say about its log.
enum LogMisdeeds {
    private static func bad(
        _ name: String, _ sentence: String = "SET_LOG_BASE has", size: UInt64, offset: UInt64 = 0, isSealed: Bool = true
    ) -> Misdeed {
        Misdeed(name, sentence) { driver in
            try driver.greet()
            let file = try makeMemoryFile(name: "log", size: 4096)
            if isSealed { try file.seal() }
            try driver.peer.send(.setLogBase(LogDescription(size: size, offset: offset)), passing: [file.rawValue])
        }
    }

    static let all = [
        bad("A log without bytes", size: 0),
        bad("A log longer than its file", size: 4097),
        bad("A log behind the end of its file", size: 1, offset: 4096),
        bad("A log of all bytes", size: .max, offset: 1),
        bad("A log at the end of all bytes", size: .max),
        bad("A log that could be truncated later", size: 4096, isSealed: false),
        Misdeed("A log without its file", "SET_LOG_BASE came with 0", .setLogBase(LogDescription(size: 4096, offset: 0))),
        Misdeed("A log in an eventfd", "SET_LOG_BASE has") {
            try $0.greet()
            try $0.peer.send(.setLogBase(LogDescription(size: 8, offset: 0)), passing: [$0.queue.call.rawValue])
        },
        Misdeed("A log in a file", "SET_LOG_BASE has") {
            try $0.greet()
            let file = try OwnedDescriptor.open("/proc/self/exe", flags: 0)
            try $0.peer.send(.setLogBase(LogDescription(size: 8, offset: 0)), passing: [file.rawValue])
        },
        Misdeed("A log that was not negotiated", "SET_LOG_BASE came without being negotiated") {
            let log = try RawLog()
            try $0.peer.send(.setProtocolFeatures(1 << 3))
            try $0.peer.send(.setLogBase(log.description), passing: [log.file.rawValue])
        },
        Misdeed("A log by its address alone", "SET_LOG_BASE with 8 bytes") {
            try $0.peer.send(MessageHeader(request: 6, size: 8), [UInt8](repeating: 0, count: 8))
        },
        Misdeed("A log's event that did not come", "SET_LOG_FD came with 0", .setLogEvent),
        Misdeed("A log too small for RAM, turned on", "no bits for the last of RAM") {
            try $0.start()
            _ = try RawLog(pageCount: 248).share(with: $0)
            try $0.peer.send(.setFeatures($0.features.rawValue | ProtocolFeatures.announcement | ProtocolFeatures.logging))
        },
        Misdeed("A log too small for RAM, while it is on", "no bits for the last of RAM") {
            try $0.start()
            _ = try RawLog().share(with: $0)
            try $0.log(true)
            let small = try RawLog(pageCount: 248)
            try $0.peer.send(.setLogBase(small.description), passing: [small.file.rawValue])
        },
        Misdeed("RAM beyond the log", "no bits for the last of RAM") {
            try $0.start()
            _ = try RawLog().share(with: $0)
            try $0.log(true)
            let region = MemoryRegionDescription(guestAddress: 1 << 30, size: 4096, userAddress: 1 << 40, fileOffset: 0)
            try $0.peer.send(.addMemoryRegion(region), passing: [$0.file])
        },
        Misdeed("A feature that changes with the log", "SET_FEATURES changes") {
            try $0.start()
            let features = $0.features.union(.eventIndex).rawValue
            try $0.peer.send(.setFeatures(features | ProtocolFeatures.announcement | ProtocolFeatures.logging))
        },
    ]
}
