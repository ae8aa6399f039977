import Glibc
import Host
import Schema
import Supervisor
import Virtqueue

/// How long a device's process takes from just before it is cloned until it answers its front-end's first request (VHOST_USER_GET_FEATURES),
/// which it reads behind its closed jail. The supervisor's part is the one that a VM has, its other processes having been started before.
@main
enum SpawnBenchmark {
    static let usage = """
        usage: SpawnBenchmark PROGRAM IMAGE [RUNS]

          PROGRAM  swvmm, which the processes execute
          IMAGE    the disk's image

          Prints lines for 'Bench report': milliseconds for a disk and for an entropy source.
        """

    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count >= 3, let runs = Int(arguments.count > 3 ? arguments[3] : "21"), runs > 0 else {
            StandardError.write(usage + "\n")
            leave(with: 64)
        }
        do {
            var block: [Double] = []
            var entropy: [Double] = []
            // They take turns. The first run makes what all processes share, and does not count.
            for run in 0...runs {
                let times = (try spawn("block", program: arguments[1], image: arguments[2]), try spawn("rng", program: arguments[1]))
                guard run > 0 else { continue }
                block.append(times.0)
                entropy.append(times.1)
            }
            for (subject, times) in [("swvmm", block), ("rng", entropy)] {
                print("samples spawn \(subject) \(times.map { "\($0)" }.joined(separator: " "))")
            }
        } catch {
            StandardError.write("SpawnBenchmark: \(error)\n")
            leave(with: 1)
        }
    }

    /// Starts a process, and ends it when it has answered.
    private static func spawn(_ kind: String, program: String, image: String? = nil) throws -> Double {
        var document: [String: JSONValue] = ["id": "device", "type": .string(kind)]
        var descriptors = PassedDescriptors()
        if let image {
            document["path"] = .string(image)
            descriptors.append(try OwnedDescriptor.open(image, flags: O_RDWR))
        }
        let pair = try SocketPair()
        let log = LogSettings(level: .notice, format: .text)
        let brief = DeviceBrief(.object(document), vmName: "bench", hasUserNamespace: !HostFacts.isRoot, isOwn: true, log: log)
        let clock = SuspendingClock()
        let start = clock.now
        let child = try DeviceChild(brief, id: "device", program: program, socket: pair.second, descriptors)
        // Request 1, version 1, without a payload; the answer has eight bytes of it.
        _ = try pair.first.send([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].span.untyped)
        var answer: [UInt8] = []
        let poller = try Poller()
        try poller.add(pair.first.rawValue, token: 0)
        while answer.count < 20 {
            guard try poller.wait(timeoutMilliseconds: 10_000, { _ in }) > 0 else { throw NoAnswer() }
            let bytes = try pair.first.readSome(20)
            guard !bytes.isEmpty else { throw NoAnswer() }
            answer += bytes
        }
        let (seconds, attoseconds) = (clock.now - start).components
        child.kill()
        return Double(seconds) * 1e3 + Double(attoseconds) / 1e15
    }

    private struct NoAnswer: Error {}
}
