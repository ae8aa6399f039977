/// What swvmm's median is to be compared with.
struct Bound {
    /// It is to be at most (at least, where more is better) this many times …
    let times: Double
    /// … the median of this program …
    let subject: String
    /// … in this figure; nil is the figure itself.
    var figure: String?

    /// What follows the comparison, in words.
    var text: String { "\(decimal(times)) x \(figure ?? (subject == "qemu" ? "QEMU" : subject))" }
}

/// What is measured, and what it aims at.
struct Figure {
    let id: String
    let title: String
    let unit: String
    /// swvmm's median is to be at most this.
    var most: Double?
    var bound: Bound?
    /// Whether more is better, as of a rate; otherwise less is, as of a time.
    var isRate = false

    static let all = machines + storage + rings + layers

    private static let machines = [
        Figure(
            id: "first-byte", title: "start to a guest's first byte", unit: "ms", most: 2.5, bound: Bound(times: 0.07, subject: "qemu")),
        Figure(id: "first-byte-jailed", title: "the same, with three devices in processes", unit: "ms", most: 10),
        Figure(id: "spawn", title: "jailed device: spawn to its first answer", unit: "ms", most: 5),
        Figure(id: "userspace", title: "start to guest userspace, in the lab", unit: "ms", bound: Bound(times: 0.55, subject: "qemu")),
        Figure(id: "sleep", title: "sleep, by socket", unit: "ms", most: 2),
        Figure(id: "wake", title: "wake, by socket", unit: "ms", most: 2),
        Figure(id: "sleep-command", title: "swvmm sleep", unit: "ms"),
        Figure(id: "wake-command", title: "swvmm wake", unit: "ms"),
        Figure(id: "snapshot-128", title: "snapshot of 64 MiB in 128 MiB, to tmpfs", unit: "ms", bound: Bound(times: 1.2, subject: "cp")),
        Figure(id: "snapshot-1024", title: "snapshot of 64 MiB in 1 GiB, to tmpfs", unit: "ms", bound: Bound(times: 1.2, subject: "cp")),
        Figure(id: "snapshot-8192", title: "snapshot of 64 MiB in 8 GiB, to tmpfs", unit: "ms", bound: Bound(times: 1.2, subject: "cp")),
        Figure(
            id: "snapshot-synced", title: "snapshot of 64 MiB in 128 MiB, on storage", unit: "ms",
            bound: Bound(times: 1.2, subject: "cp+sync")),
        Figure(id: "restore-128", title: "restore to first output, 128 MiB", unit: "ms", most: 5),
        Figure(id: "restore-1024", title: "restore to first output, 1 GiB", unit: "ms", most: 5),
        Figure(
            id: "restore-8192", title: "restore to first output, 8 GiB", unit: "ms", most: 5,
            bound: Bound(times: 1.5, subject: "swvmm", figure: "restore-128")),
        Figure(
            id: "restore-copy-256", title: "restore of 256 MiB with devices in processes", unit: "ms",
            bound: Bound(times: 1.2, subject: "copy")),
        Figure(
            id: "restore-copy-1024", title: "restore of 1 GiB with devices in processes", unit: "ms",
            bound: Bound(times: 1.2, subject: "copy")),
        Figure(id: "private", title: "private memory outside guest RAM", unit: "KiB", most: 1024),
        Figure(id: "proportional", title: "proportional memory outside guest RAM", unit: "KiB"),
        Figure(id: "private-device", title: "private memory of a device's process", unit: "KiB", most: 1536),
        Figure(id: "private-machine", title: "private memory of the machine's process", unit: "KiB"),
        Figure(id: "private-supervisor", title: "private memory of their supervisor", unit: "KiB"),
    ]

    private static let rings = [
        Figure(id: "split-device", title: "split chain, device side", unit: "ns", most: 35),
        Figure(id: "split-driver", title: "split chain, driver side", unit: "ns"),
        Figure(id: "packed-device", title: "packed chain, device side", unit: "ns"),
        Figure(id: "packed-driver", title: "packed chain, driver side", unit: "ns"),
        Figure(id: "split-core-batch", title: "split chain, synchronous, batches of 16", unit: "ns"),
        Figure(
            id: "split-stream-batch", title: "split chain, async stream, batches of 16", unit: "ns",
            bound: Bound(times: 2, subject: "swvmm", figure: "split-core-batch")),
        Figure(id: "packed-core-batch", title: "packed chain, synchronous, batches of 16", unit: "ns"),
        Figure(
            id: "packed-stream-batch", title: "packed chain, async stream, batches of 16", unit: "ns",
            bound: Bound(times: 2, subject: "swvmm", figure: "packed-core-batch")),
    ]

    /// A 4 KiB read from request to answer, by a device that has nothing to do, on the driver's thread.
    private static let layers = ["split", "packed"].flatMap { ring in
        [("ring", "the ring alone"), ("requests", "a queue of requests"), ("block", "the block driver")].flatMap { layer, title in
            [
                Figure(id: "\(layer)-\(ring)-ns", title: "a read, \(ring): \(title)", unit: "ns"),
                Figure(id: "\(layer)-\(ring)-count", title: "  in instructions", unit: "1"),
            ]
        }
    }

    /// Of each load how much is done, and what that costs the back-end.
    private static let storage =
        random("read-4k-1", "4 KiB random reads, depth 1", rate: 1, cost: 0.8)
        + random("read-4k-32", "4 KiB random reads, depth 32", rate: 1.3, cost: 0.7)
        + random("write-4k-1", "4 KiB random writes, depth 1", rate: 1, cost: 0.8)
        + random("write-4k-32", "4 KiB random writes, depth 32", rate: 1.3, cost: 0.7)
        + sequential("read-256k", "256 KiB sequential reads, depth 4", rate: 1.2)
        + sequential("write-256k", "256 KiB sequential writes, depth 4", rate: 1.2)

    private static func random(_ load: String, _ title: String, rate: Double, cost: Double) -> [Figure] {
        [
            Figure(id: "\(load)-rate", title: title, unit: "/s", bound: Bound(times: rate, subject: "qemu"), isRate: true),
            Figure(id: "\(load)-bytes", title: "  in bytes", unit: "MB/s", isRate: true),
            Figure(id: "\(load)-cpu", title: "  back-end's processor time, each", unit: "us", bound: Bound(times: cost, subject: "qemu")),
        ]
    }

    private static func sequential(_ load: String, _ title: String, rate: Double) -> [Figure] {
        [
            Figure(id: "\(load)-bytes", title: title, unit: "MB/s", bound: Bound(times: rate, subject: "qemu"), isRate: true),
            Figure(id: "\(load)-rate", title: "  in requests", unit: "/s", isRate: true),
            Figure(id: "\(load)-cpu", title: "  back-end's processor time, each", unit: "us"),
        ]
    }

    var aim: String {
        var parts: [String] = []
        if let most { parts.append("<= \(decimal(most)) \(unit)") }
        if let bound { parts.append("\(isRate ? ">=" : "<=") \(bound.text)") }
        return parts.joined(separator: ", ")
    }

    /// Whether the aim is met; nil when there is none, or what to compare with was not measured.
    func verdict(_ result: Result, among results: [Result]) -> Bool? {
        guard result.subject == "swvmm" else { return nil }
        if let most, result.median > most { return false }
        guard let bound else { return most == nil ? nil : true }
        guard let peer = results.first(where: { $0.figure == bound.figure ?? id && $0.subject == bound.subject }) else { return nil }
        return isRate ? result.median >= bound.times * peer.median : result.median <= bound.times * peer.median
    }
}
