import DriverSupport
import Host
import TestSupport
import Testing
import Virtqueue

@testable import VirtioDriver

@Suite("Block driver for tasks")
struct AsyncBlockTests {
    @Test("many tasks at a time each get their own answer", arguments: Reach.allCases)
    func many(_ reach: Reach) async throws {
        guard reach != .storageDaemon || StorageDaemon.isHere else { return }
        let disk = try TestDisk(reach, Terms(indirect: true, eventIndex: true))
        // Fewer descriptors than tasks: some wait for room.
        let driver = try BlockDriver(disk.transport, queueSize: 16)
        let memory = try driver.makeMemory(byteCount: 100 * 4096)
        let blocks = try AsyncBlockDriver(driver)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<100 {
                let buffer = memory.range.slice(from: task * 4096, count: 4096)
                group.addTask {
                    for round in 0..<10 {
                        let value = UInt64(task * 1000 + round)
                        buffer.fill(UInt8(task))
                        buffer.store(value, at: 1000)
                        try await blocks.write(at: UInt64(task * 4096), from: buffer)
                        buffer.fill(0)
                        try await blocks.read(at: UInt64(task * 4096), into: buffer)
                        guard buffer.load(at: 1000, as: UInt64.self) == value, buffer.load(at: 4095, as: UInt8.self) == UInt8(task) else {
                            throw DriverError.refused("task \(task) has read what another one wrote")
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        try await blocks.flush()
        #expect(try await blocks.identity() == (reach == .storageDaemon ? "vhost_user_blk" : "a serial"))
        await #expect(throws: DriverError.unaligned(100, to: 512)) {
            try await blocks.read(at: 100, into: memory.range.slice(from: 0, count: 512))
        }
        blocks.close()
        await #expect(throws: DriverError.wrongState("The driver was closed.")) { try await blocks.flush() }
    }

    @Test("a back-end that goes fails what waits and what comes", arguments: [Reach.service, .storageDaemon])
    func vanishes(_ reach: Reach) async throws {
        guard reach != .storageDaemon || StorageDaemon.isHere else { return }
        let disk = try TestDisk(reach)
        let driver = try BlockDriver(disk.transport)
        let memory = try driver.makeMemory(byteCount: 4096)
        let blocks = try AsyncBlockDriver(driver)
        try await blocks.write(at: 0, from: memory.range)
        try disk.vanish()
        await #expect(throws: DriverError.self) { try await blocks.read(at: 0, into: memory.range) }
        await #expect(throws: DriverError.self) { try await blocks.flush() }
    }
}
