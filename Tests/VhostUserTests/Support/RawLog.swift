import Host
import Virtio
import Virtqueue

@testable import VhostUser

/// A dirty log in the hands of a test.
final class RawLog {
    let file: OwnedDescriptor
    private let mapping: MemoryMapping
    private let offset: Int
    /// What a front-end says about it.
    let description: LogDescription

    /// Bits for `pageCount` pages, which begin `offset` bytes into the file.
    init(pageCount: Int = Int(RawDriver.ramSize / 4096), offset: Int = 0) throws {
        let size = (pageCount + 7) / 8
        file = try makeMemoryFile(name: "log", size: UInt64(offset + size))
        try file.seal()
        // What lies behind the bits is looked at as well.
        mapping = try MemoryMapping(file, count: 4096)
        self.offset = offset
        description = LogDescription(size: UInt64(size), offset: UInt64(offset))
    }

    /// The pages that are marked, which are not any more then; page 0 is that of the log's first bit, and lower ones lie before the log.
    func take() -> Set<Int> {
        var pages: Set<Int> = []
        for index in 0..<4096 {
            let bits: UInt8 = mapping.range.load(at: index) ?? 0
            for bit in 0..<8 where bits & 1 << UInt8(bit) != 0 { pages.insert((index - offset) * 8 + bit) }
            mapping.range.store(UInt8(0), at: index)
        }
        return pages
    }

    /// Hands it to the back-end behind `driver`.
    func share(with driver: RawDriver) throws -> BackEndReply { try driver.peer.ask(.setLogBase(description), passing: [file.rawValue]) }
}

extension RawDriver {
    /// Turns logging on or off, for running rings too, as front-ends do: by features, and by the flag of every ring.
    func log(_ isOn: Bool, ringsAt address: (RawQueue) -> UInt64 = { $0.configuration.deviceArea }) throws {
        try peer.send(.setFeatures(features.rawValue | ProtocolFeatures.announcement | (isOn ? ProtocolFeatures.logging : 0)))
        for queue in queues {
            var addresses = queue.addresses
            if isOn { (addresses.flags, addresses.log) = (1, address(queue)) }
            try peer.send(.setRingAddresses(addresses))
        }
        try synchronize()
    }

    /// Stops the first queue, so that nothing is written or marked any more, and starts it where it stood.
    func pause(_ body: () throws -> Void) throws {
        guard case .ring(let ring) = try peer.ask(.getRingBase(queue.state())) else { throw Timeout("a base") }
        try body()
        try queue.start(on: peer, base: ring.value)
        try synchronize()
    }
}
