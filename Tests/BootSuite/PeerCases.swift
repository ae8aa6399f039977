import Glibc
import Host

/// Our devices behind other people's front-ends, in programs of their own on this machine: neither KVM nor the lab is needed.
func peerCases(_ options: Options) -> [TestCase] {
    let guests = [false, true].map { packed in
        let name = "QEMU's guest, \(packed ? "packed" : "split")"
        return peerCase(name, needs: [EmulatedGuest.program, "passt", "socat"]) { scratch, note in
            try PeerGuestRun(options, scratch, note, packed: packed).useEverything()
        }
    }
    let kills = [false, true].map { packed in
        let name = "QEMU's guest, \(packed ? "packed" : "split"), whose disk is killed"
        return peerCase(name, needs: [EmulatedGuest.program]) { scratch, note in
            try PeerGuestRun(options, scratch, note, packed: packed).killDisk(times: options.complete ? 50 : 8)
        }
    }
    let others = [
        peerCase("SeaBIOS boots from our disk", needs: [EmulatedGuest.program]) { scratch, note in
            try bootFromDisk(options, scratch, note)
        },
        peerCase("DPDK's testpmd", needs: ["dpdk-testpmd", "ip", "ping"], asRoot: "makes a tap") { scratch, note in
            try PacketPeerRun(options, scratch).run(note, pings: options.complete ? 20000 : 500)
        },
    ]
    return guests + kills + others
}

/// Why a case stopped, and what helps to understand it.
struct PeerFailure: Error {
    let reason: String
    let context: [String]

    init(_ reason: String, context: [String] = []) { (self.reason, self.context) = (reason, context) }
}

/// Notes that something is as it must be.
typealias PeerNote = (String) -> Void

/// How long anything may take, in milliseconds: an emulated guest on a busy machine is slow.
let peerPatience: Int64 = 180_000

/// A case with programs that may not be here, or that only root can do. It is left out then, and a line says why.
private func peerCase(
    _ name: String, needs programs: [String], asRoot why: String? = nil, _ body: @escaping (Scratch, @escaping PeerNote) throws -> Void
) -> TestCase {
    TestCase(name: "peers: \(name)") { report in
        if let missing = programs.first(where: { findProgram($0) == nil }) {
            return report.remark("peers: \(name): left out, \(missing) is not installed")
        }
        if let why, getuid() != 0 { return report.remark("peers: \(name): left out, it \(why), which only root can do") }
        let scratch = Scratch("peers")
        defer { scratch.remove() }
        let begin = MonotonicTime.now
        do {
            try body(scratch) { report.note("peers: \(name): \($0)", nil) }
        } catch let failure as PeerFailure {
            report.note("peers: \(name)", failure.reason, context: failure.context)
        } catch {
            report.note("peers: \(name)", "\(error)")
        }
        report.remark("peers: \(name): \((MonotonicTime.now - begin) / 1000) s")
    }
}
