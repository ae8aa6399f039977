import DriverSupport
import Glibc
import Host
import Vhost
import Virtio
import VirtioDriver

/// The suite of checks for drivers on the host, over a vDPA disk of the kernel. Representative: one kind of ring for each server; complete:
/// every kind that it has, and past the wrap of an index.
func vdpaDriverCases(_ options: Options) -> [TestCase] {
    let rings: [(VdpaServer, Bool)] = [(.ours, false), (.ours, true), (.daemon, false)]
    return rings.map { server, packed in
        let name = "vdpa: drivers of the host on a disk of \(server.rawValue), \(packed ? "packed" : "split")"
        return TestCase(name: name) { report in
            let scratch = Scratch("vdpa-driver")
            defer { scratch.remove() }
            do {
                let count = try run(server, packed: packed, options, scratch)
                report.note("\(name), \(count) checks", nil)
            } catch {
                let failure = error as? PeerFailure
                report.note(name, failure?.reason ?? "\(error)", context: failure?.context ?? [])
            }
        }
    }
}

private func run(_ server: VdpaServer, packed: Bool, _ options: Options, _ scratch: Scratch) throws -> Int {
    let image = "\(scratch.path)/disk.img"
    guard Command.shell("truncate -s \(2 * Conformance.size) \(image)") != nil else { throw PeerFailure("no room for an image") }
    let disk = try VdpaDisk(server, options, image: image, packed: packed)
    defer { disk.kill() }
    let path = try disk.node()
    let checks = Conformance.checks(operations: options.complete ? 2000 : 400, wraps: options.complete, drains: server == .ours)
    let terms = Terms.all.filter { $0.packed == packed && (options.complete || ($0.indirect && $0.eventIndex)) }
    var count = 0
    for terms in terms {
        for check in checks {
            let node = try OwnedDescriptor.open(path, flags: O_RDWR)
            let transport = try VhostVdpaTransport(try VhostVdpa(node), wanted: terms.wanted)
            guard transport.features.ring == terms.ring else {
                throw PeerFailure("\(terms): found \(transport.features.ring)", context: disk.complaints)
            }
            do { try check.run(transport) } catch {
                throw PeerFailure("\(terms): \(check.name): \(error)", context: disk.complaints)
            }
            try disk.expectAlive()
            count += 1
        }
        do {
            try Conformance.reconnects(drains: server == .ours) {
                try VhostVdpaTransport(try VhostVdpa(try OwnedDescriptor.open(path, flags: O_RDWR)), wanted: terms.wanted)
            }
        } catch {
            throw PeerFailure("\(terms): drivers that follow each other: \(error)", context: disk.complaints)
        }
        try disk.expectAlive()
        count += 1
    }
    try disk.end()
    return count
}
