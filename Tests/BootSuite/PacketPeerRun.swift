import Glibc
import Host

/// DPDK's virtio-user driver on a network device of ours that has a tap: `testpmd` answers pings that the host sends through it.
struct PacketPeerRun {
    private static let hardwareAddress = "02:00:00:00:00:02"
    private let options: Options
    private let scratch: Scratch
    private let tap = "swpeer0"
    /// Addresses for tests of networks (RFC 2544).
    private let host = "198.18.77.1"
    private let peer = "198.18.77.2"

    init(_ options: Options, _ scratch: Scratch) { (self.options, self.scratch) = (options, scratch) }

    /// One device serves one front-end after the other.
    func run(_ note: PeerNote, pings: Int) throws {
        let prepared = "ip tuntap add \(tap) mode tap && ip addr add \(host)/30 dev \(tap) && ip link set \(tap) up"
        defer { _ = Command.shell("ip link del \(tap)") }
        guard Command.shell(prepared) != nil else { throw PeerFailure("failed: \(prepared)") }
        let service = try DeviceService(options, "net", in: scratch, packed: true, "backend.tap=\(tap)")
        for packed in [false, true] {
            do { try ping(service, packed: packed, count: pings) } catch let failure as PeerFailure {
                throw PeerFailure("\(packed ? "packed" : "split"): \(failure.reason)", context: failure.context + service.condition)
            }
            note("\(pings) pings, \(packed ? "packed" : "split")")
        }
        try service.end()
        note("the device ends well")
    }

    private func ping(_ service: DeviceService, packed: Bool, count: Int) throws {
        let device = "net_virtio_user0,path=\(service.socket),packed_vq=\(packed ? 1 : 0),queues=1,mac=\(Self.hardwareAddress)"
        let front = try RunningVM(
            program: findProgram("dpdk-testpmd") ?? "",
            arguments: [
                "-l", "0,1", "--no-huge", "--no-pci", "-m", "256", "--no-shconf", "--no-telemetry", "--vdev", device, "--", "-i",
                "--auto-start", "--forward-mode=icmpecho", "--no-numa", "--total-num-mbufs=2048",
            ])
        func said() -> [String] { front.history.suffix(10) + lines(front.complaints, last: 5) }
        // It answers as soon as it is there.
        let deadline = MonotonicTime.now + peerPatience
        while Command.shell("ping -c 1 -W 1 \(peer)") == nil {
            _ = front.nextLine(before: MonotonicTime.now + 10)
            guard front.status == nil, MonotonicTime.now < deadline else {
                throw PeerFailure("no answer; testpmd \(front.status.map { "\($0)" } ?? "still runs")", context: said())
            }
        }
        let before = frames()
        // Large frames, whose contents ping compares, as fast as they come back.
        let result = Command.run(["ping", "-q", "-f", "-c", "\(count)", "-s", "1400", "-W", "10", peer], seconds: peerPatience / 1000)
        guard result.succeeded, result.output.firstRange(of: " \(count) received") != nil, result.output.firstRange(of: "wrong data") == nil
        else { throw PeerFailure("expected \(count) answers", context: lines(result.output + result.errors) + said()) }
        let after = frames()
        guard zip(before, after).allSatisfy({ $1 - $0 >= count }) else {
            throw PeerFailure("expected \(count) more frames each way on the tap, found \(before) before and \(after) after")
        }
        guard front.type("stop\nquit\n"), front.waitForEnd(before: MonotonicTime.now + peerPatience) == .exited(0) else {
            throw PeerFailure("testpmd does not end well: \(front.status.map { "\($0)" } ?? "it still runs")", context: said())
        }
    }

    /// How many frames the host has got from the tap, and sent into it.
    private func frames() -> [Int] {
        let statistics = "/sys/class/net/\(tap)/statistics"
        return (Command.shell("cat \(statistics)/rx_packets \(statistics)/tx_packets") ?? "").split(separator: "\n").map { Int($0) ?? 0 }
    }
}
