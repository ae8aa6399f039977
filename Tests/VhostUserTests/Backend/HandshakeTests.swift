import GuestMemory
import Host
import Testing
import Virtio
import Virtqueue

@testable import Devices
@testable import VhostUser

@Suite("Back-end with the handshakes of other VMMs")
struct HandshakeTests {
    private static let sectors: UInt64 = 2048

    /// A disk with two queues, the first byte of which is 0xd5.
    private func disk() throws -> Service {
        let file = try makeMemoryFile(name: "disk", size: Self.sectors * 512)
        let mapping = try MemoryMapping(file, count: 512)
        mapping.range.store(UInt8(0xd5), at: 0)
        var configuration = BlockConfiguration(image: file, label: "disk")
        configuration.queues = 2
        configuration.queueSize = 128
        configuration.engine = .sync
        return Service(try BlockDevice(configuration))
    }

    private func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) } }

    /// What QEMU does until its guest's driver is ready.
    private func greetAsQEMU(_ driver: RawDriver, _ service: Service, channel: Int32) throws {
        let peer = driver.peer
        let offered = service.device.features.rawValue | 1 << 30 | 1 << 26
        #expect(try peer.ask(.getFeatures) == .number(offered))
        let protocolFeatures: UInt64 = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 9 | 1 << 12 | 1 << 13 | 1 << 15 | 1 << 16 | 1 << 19
        #expect(try peer.ask(.getProtocolFeatures) == .number(protocolFeatures))
        try peer.send(.setProtocolFeatures(protocolFeatures & ~(1 << 13)))
        #expect(try peer.ask(.getQueueCount) == .number(2))
        #expect(try peer.ask(.getMaxMemorySlots) == .number(32))
        #expect(try peer.ask(.setBackendRequestSocket, needsReply: true, passing: [channel]) == .number(0))
        try peer.send(.setOwner)
        #expect(try peer.ask(.getFeatures) == .number(offered))
        for queue in driver.queues {
            try peer.send(.setRingCall(queue.present), passing: [queue.call.rawValue])
            try peer.send(.setRingError(queue.present), passing: [queue.error.rawValue])
        }
    }

    @Test("QEMU 7.2 with a disk: two queues, RAM by single regions, status, until a request is answered")
    func qemuBlock() throws {
        let service = try disk()
        let features: Features = [.version1, .eventIndex, .indirectDescriptors, .blockMultiQueue, .blockFlush, .blockConfigWCE]
        let driver = try RawDriver(try service.connect(), features: features, queues: 2, maxSize: 128)
        let peer = driver.peer
        let channel = try SocketPair()
        try greetAsQEMU(driver, service, channel: channel.second.rawValue)
        let question = ConfigurationAccess(offset: 0, bytes: [UInt8](repeating: 0, count: 57))
        guard case .configuration(let space?) = try peer.ask(.getConfiguration(question)) else { throw Timeout("a space") }
        #expect(space.bytes.count == 57)
        #expect(number(space.bytes[0..<8]) == Self.sectors)
        #expect(number(space.bytes[34..<36]) == 2)
        try peer.send(.setFeatures(features.rawValue | 1 << 30))
        for status: UInt64 in [1, 3, 11, 15] {
            try peer.send(.setStatus(status))
            #expect(try driver.status() == status)
        }
        #expect(try peer.ask(.addMemoryRegion(driver.region), needsReply: true, passing: [driver.file]) == .number(0))
        for queue in driver.queues {
            try peer.send(.setRingSize(queue.state(128)))
            try peer.send(.setRingBase(queue.state(0)))
            try peer.send(.setRingAddresses(queue.addresses))
            try peer.send(.setRingKick(queue.present), passing: [queue.kick.rawValue])
            try peer.send(.setRingCall(queue.present), passing: [queue.call.rawValue])
        }
        for queue in driver.queues {
            #expect(try peer.ask(.setRingEnable(queue.state(1)), needsReply: true) == .number(0))
        }
        for queue in driver.queues { try expectSector(driver, queue) }
        // Shutting down: the queues stop after one request each, and RAM goes.
        for queue in driver.queues {
            #expect(try peer.ask(.getRingBase(queue.state())) == .ring(queue.state(1)))
        }
        #expect(try peer.ask(.removeMemoryRegion(driver.region), needsReply: true) == .number(0))
        try peer.send(.setStatus(0))
        #expect(try driver.status() == 0)
        peer.leave()
        #expect(try driver.connection.failure() == nil)
        #expect(service.reports == [])
        #expect(try !service.wasLeftActive())
    }

    /// Reads the first sector.
    private func expectSector(_ driver: RawDriver, _ queue: RawQueue) throws {
        let header = driver.place([UInt8](repeating: 0, count: 16))
        let data = driver.place([UInt8](repeating: 0xff, count: 512))
        let status = driver.place([0xff])
        #expect(try queue.run(readable: [header], writable: [data, status]) == 513)
        #expect(driver.memory.read(at: data.address, count: 3) == [0xd5, 0, 0])
        #expect(driver.memory.read(at: status.address, count: 1) == [0])
    }

    @Test("QEMU's network devices enable their queues before they negotiate features")
    func enableFirst() throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        let peer = driver.peer
        _ = try peer.ask(.getFeatures)
        try peer.send(.setProtocolFeatures(1 << 3 | 1 << 16))
        try peer.send(.setOwner)
        #expect(try peer.ask(.setRingEnable(driver.queue.state(1)), needsReply: true) == .number(0))
        try peer.send(.setFeatures(driver.features.rawValue | 1 << 30))
        try driver.shareMemory()
        try peer.send(.setRingSize(driver.queue.state(64)))
        try peer.send(.setRingBase(driver.queue.state(0)))
        try peer.send(.setRingAddresses(driver.queue.addresses))
        try peer.send(.setRingKick(driver.queue.present), passing: [driver.queue.kick.rawValue])
        try peer.send(.setRingCall(driver.queue.present), passing: [driver.queue.call.rawValue])
        #expect(try driver.works())
        peer.leave()
        #expect(try driver.connection.failure() == nil)
    }

    @Test("A front-end that knows no protocol features has its rings enabled by the doorbell")
    func withoutProtocolFeatures() throws {
        let service = try Service()
        let driver = try RawDriver(try service.connect())
        let peer = driver.peer
        _ = try peer.ask(.getFeatures)
        try peer.send(.setOwner)
        try peer.send(.setFeatures(driver.features.rawValue))
        try driver.shareMemory()
        try peer.send(.setRingSize(driver.queue.state(64)))
        try peer.send(.setRingBase(driver.queue.state(0)))
        try peer.send(.setRingAddresses(driver.queue.addresses))
        try peer.send(.setRingCall(driver.queue.present), passing: [driver.queue.call.rawValue])
        try peer.send(.setRingKick(driver.queue.present), passing: [driver.queue.kick.rawValue])
        #expect(try driver.works())
        // Nobody has negotiated answers.
        #expect(try peer.ask(.getRingBase(driver.queue.state())) == .ring(driver.queue.state(1)))
        try peer.send(.setOwner, needsReply: true)
        #expect(try peer.ask(.getQueueCount) == .number(1))
        peer.leave()
        #expect(try driver.connection.failure() == nil)
    }

    @Test("A write to configuration space reaches the device")
    func configurationWrite() throws {
        let service = try disk()
        let features: Features = [.version1, .blockFlush, .blockConfigWCE]
        let driver = try RawDriver(try service.connect(), features: features, queues: 1, maxSize: 128)
        try driver.start()
        func writeback() throws -> BackEndReply {
            try driver.peer.ask(.getConfiguration(ConfigurationAccess(offset: 32, bytes: [0])))
        }
        #expect(try writeback() == .configuration(ConfigurationAccess(offset: 32, bytes: [1])))
        try driver.peer.send(.setConfiguration(ConfigurationAccess(offset: 32, bytes: [0])))
        #expect(try writeback() == .configuration(ConfigurationAccess(offset: 32, bytes: [0])))
        // Behind the end of the device's space is nothing.
        let end = ConfigurationAccess(offset: ConfigurationAccess.end - 4, bytes: [0, 0, 0, 0])
        #expect(try driver.peer.ask(.getConfiguration(end)) == .configuration(end))
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }
}
