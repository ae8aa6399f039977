import DriverSupport
import Host
import Testing
import Virtio
import Virtqueue

@testable import VirtioDriver

/// One suite of checks, over every way to a device that needs no lab; `BootSuite vdpa` runs it over vhost-vdpa.
@Suite("Block driver over every transport")
struct BlockConformanceTests {
    struct Case: Sendable, CustomStringConvertible {
        let reach: Reach
        let terms: Terms
        let check: Int
        /// The device is written on the asynchronous runtime.
        var isAsync = false
        var description: String { "\(reach.rawValue)\(isAsync ? ", async" : ""), \(terms): \(BlockConformanceTests.checks[check].name)" }
    }

    static let checks = Conformance.checks(operations: 2000, wraps: false)
    static let daemonChecks = Conformance.checks(operations: 2000, wraps: false, drains: false)
    static let wraps = Conformance.checks(operations: 0, wraps: true).filter { $0.name.hasSuffix("counts") }

    static var cases: [Case] { ours + asyncDevice }

    static var asyncDevice: [Case] {
        [Reach.loopback, .service].flatMap { reach in
            Terms.all.flatMap { terms in checks.indices.map { Case(reach: reach, terms: terms, check: $0, isAsync: true) } }
        }
    }

    static var ours: [Case] {
        Reach.allCases.flatMap { reach in
            // qemu-storage-daemon has no packed rings: it would be the same again.
            Terms.all.filter { reach != .storageDaemon || (!$0.packed && StorageDaemon.isHere) }.flatMap { terms in
                checks.indices.map { Case(reach: reach, terms: terms, check: $0) }
            }
        }
    }

    @Test("each check, with each kind of ring", arguments: cases)
    func check(_ one: Case) throws {
        let disk = try TestDisk(one.reach, one.terms, isAsync: one.isAsync)
        #expect(disk.transport.features.ring == one.terms.ring)
        try withExtendedLifetime(disk) {
            try (one.reach == .storageDaemon ? Self.daemonChecks : Self.checks)[one.check].run(disk.transport)
        }
    }

    @Test(
        "more requests than a ring index can count", arguments: [(Reach.loopback, false), (.loopback, true), (.service, false)],
        [false, true])
    func wrap(_ way: (reach: Reach, packed: Bool), _ isAsync: Bool) throws {
        for check in Self.wraps {
            let disk = try TestDisk(way.reach, Terms(packed: way.packed, indirect: true, eventIndex: true), isAsync: isAsync)
            try withExtendedLifetime(disk) { try check.run(disk.transport) }
        }
    }

    @Test("each queue has a thread of its own", arguments: [Reach.loopback, .service, .storageDaemon])
    func queues(_ reach: Reach) throws {
        guard reach != .storageDaemon || StorageDaemon.isHere else { return }
        let disk = try TestDisk(reach, Terms(indirect: true, eventIndex: true), queues: 3)
        let driver = try BlockDriver(disk.transport, queues: 3, queueSize: 32)
        var threads: [WorkerThread<Bool>] = []
        for index in 0..<3 {
            let memory = try driver.makeMemory(byteCount: 1 << 18)
            let slot = Slot(try driver.takeQueue(index))
            let blocks = TestDisk.size / 4096 / 3
            threads.append(
                try WorkerThread(name: "queue \(index)", state: false) { isDone, _ in
                    guard var queue = slot.take() else { return }
                    do {
                        var workload = Workload(seed: UInt64(index), blocks: blocks, from: blocks * index)
                        try workload.run(&queue, memory, operations: 1000)
                        isDone = true
                    } catch {
                        Issue.record(error)
                    }
                })
        }
        for thread in threads { #expect(thread.stop() == true) }
        #expect(throws: DriverError.noSuchQueue(0)) { _ = try driver.takeQueue(0).inFlight }
    }

    @Test(
        "the names of devices are what they say",
        arguments: [(Reach.loopback, "a serial"), (.service, "a serial"), (.storageDaemon, "vhost_user_blk")])
    func identity(_ reach: Reach, _ name: String) throws {
        guard reach != .storageDaemon || StorageDaemon.isHere else { return }
        let disk = try TestDisk(reach)
        var queue = try BlockDriver(disk.transport).takeQueue()
        #expect(try queue.identity() == name)
    }
}
