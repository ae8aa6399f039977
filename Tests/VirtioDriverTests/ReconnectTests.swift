import Devices
import DriverSupport
import Host
import Testing
import Virtio

@testable import VirtioDriver

@Suite("Drivers that follow each other")
struct ReconnectTests {
    struct Case: Sendable, CustomStringConvertible {
        let reach: Reach
        let terms: Terms
        var description: String { "\(reach.rawValue), \(terms)" }
    }

    static var cases: [Case] {
        Reach.allCases.flatMap { reach in
            // As in the suite for one driver.
            Terms.all.filter { reach != .storageDaemon || (!$0.packed && StorageDaemon.isHere) }.map { Case(reach: reach, terms: $0) }
        }
    }

    @Test("each finds what those before it have written", arguments: cases)
    func reconnects(_ one: Case) throws {
        if one.reach == .storageDaemon {
            let daemon = try StorageDaemon(queues: 1, size: TestDisk.size, readOnly: false)
            try Conformance.reconnects(drains: false) {
                try VhostUserTransport(try daemon.connect(), wanted: one.terms.wanted, patience: 10_000)
            }
            return
        }
        var configuration = BlockConfiguration(image: try temporaryFile(size: TestDisk.size), label: "disk")
        configuration.packedRing = true
        let device = try BlockDevice(configuration)
        var server: BackendThread?
        try Conformance.reconnects {
            guard one.reach == .service else { return try LoopbackTransport(device, wanted: one.terms.wanted) }
            // It ends by itself when its front-end has left.
            server?.stop()
            let next = try BackendThread(device)
            server = next
            return try VhostUserTransport(try next.socket(), wanted: one.terms.wanted, patience: 10_000)
        }
        server?.stop()
    }
}
