import DriverSupport
import Glibc
import Host
import Vhost
import Virtio
import VirtioDriver

/// The suite of checks for drivers on the host, over vhost-user to a jailed `swvmm device`. Complete: with every kind of ring, and past the wrap
/// of an index.
func serviceDriverCases(_ options: Options) -> [TestCase] {
    [false, true].map { (packed: Bool) -> TestCase in
        hostDriverCase("driver: drivers of the host on swvmm device, \(packed ? "packed" : "split")") { scratch in
            let server = try ForeignServer.ours(
                options, "block", scratch, "path=\(try image(scratch))", "packedRing=\(packed)")
            let checks = HostDriverChecks(options, packed: packed, drains: true)
            return try checks.run(complaints: { server.complaints }) { terms in
                try VhostUserTransport(try UnixSocket.connect(to: server.socket), wanted: terms.wanted)
            }
        }
    }
}

/// The same over a vDPA disk of the kernel. Representative: one kind of ring for each server; complete: every kind that it has.
func vdpaDriverCases(_ options: Options) -> [TestCase] {
    let rings: [(VdpaServer, Bool)] = [(.ours, false), (.ours, true), (.daemon, false)]
    return rings.map { server, packed in
        hostDriverCase("vdpa: drivers of the host on a disk of \(server.rawValue), \(packed ? "packed" : "split")") { scratch in
            let disk = try VdpaDisk(server, options, image: try image(scratch), packed: packed)
            defer { disk.kill() }
            let path = try disk.node()
            let checks = HostDriverChecks(options, packed: packed, drains: server == .ours)
            let count = try checks.run(complaints: { disk.complaints }) { terms in
                try disk.expectAlive()
                return try VhostVdpaTransport(try VhostVdpa(try OwnedDescriptor.open(path, flags: O_RDWR)), wanted: terms.wanted)
            }
            try disk.end()
            return count
        }
    }
}

/// A case that says how many checks `body` has made.
private func hostDriverCase(_ name: String, _ body: @escaping (Scratch) throws -> Int) -> TestCase {
    TestCase(name: name) { report in
        let scratch = Scratch("host-driver")
        defer { scratch.remove() }
        do {
            report.note("\(name), \(try body(scratch)) checks", nil)
        } catch {
            let failure = error as? PeerFailure
            report.note(name, failure?.reason ?? "\(error)", context: failure?.context ?? [])
        }
    }
}

/// An image of zeros, large enough for the checks.
private func image(_ scratch: Scratch) throws -> String {
    let path = "\(scratch.path)/disk.img"
    guard Command.shell("truncate -s \(2 * Conformance.size) \(path)") != nil else { throw PeerFailure("no room for an image") }
    return path
}

/// All checks for one device, one transport after the other.
private struct HostDriverChecks {
    private let checks: [(name: String, run: @Sendable (any VirtioTransport) throws -> Void)]
    private let terms: [Terms]
    private let drains: Bool

    init(_ options: Options, packed: Bool, drains: Bool) {
        checks = Conformance.checks(operations: options.complete ? 2000 : 400, wraps: options.complete, drains: drains)
        terms = Terms.all.filter { $0.packed == packed && (options.complete || ($0.indirect && $0.eventIndex)) }
        self.drains = drains
    }

    /// Runs them on transports that `connect` makes; returns how many there were.
    func run(complaints: () -> [String], connect: (Terms) throws -> any VirtioTransport) throws -> Int {
        var count = 0
        for terms in terms {
            func check(_ name: String, _ body: () throws -> Void) throws {
                do { try body() } catch {
                    throw PeerFailure("\(terms): \(name): \((error as? PeerFailure)?.reason ?? "\(error)")", context: complaints())
                }
                count += 1
            }
            for one in checks {
                try check(one.name) {
                    let transport = try connect(terms)
                    guard transport.features.ring == terms.ring else { throw PeerFailure("found \(transport.features.ring)") }
                    try one.run(transport)
                }
            }
            try check("drivers that follow each other") { try Conformance.reconnects(drains: drains) { try connect(terms) } }
        }
        return count
    }
}
