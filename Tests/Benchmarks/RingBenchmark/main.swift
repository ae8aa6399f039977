// What a request costs in the rings: ns per chain of three descriptors (16 bytes to read, 4096 to write, 1 to write: a block read), for
// both formats and both sides, with the checked translation of real guest memory. Medians over runs, and the best run, which a busy
// machine disturbs less; `--json` for machines.

import Glibc
import GuestMemory
import Virtqueue

/// One kind of measurement: a ring format and whether chains are indirect.
struct Variant {
    var name: String
    var features: RingFeatures
}

/// What one run measured, in ns per chain.
struct Sample {
    var device: Double
    var deviceEach: Double
    var driver: Double
}

let queueSize: UInt16 = 256
/// As many chains of three descriptors as the ring holds without indirect tables.
let batch = 80
let rounds = 400
let runs = 51

let ringAddress: UInt64 = 0x1_0000
let tableAddress: UInt64 = 0x2_0000
let dataAddress: UInt64 = 0x10_0000

func configuration(_ format: RingFormat) -> QueueConfiguration {
    var configuration = QueueConfiguration(maxSize: queueSize)
    configuration.descriptorArea = ringAddress
    configuration.driverArea = ringAddress + 0x4000
    configuration.deviceArea = ringAddress + 0x8000
    configuration.ready = true
    return configuration
}

func nanoseconds(_ duration: Duration) -> Double {
    let (seconds, attoseconds) = duration.components
    return Double(seconds) * 1e9 + Double(attoseconds) / 1e9
}

/// One run: the driver fills the ring, the device empties it, the driver takes everything back; each part is timed alone.
func measure(_ variant: Variant, memory: GuestMemory) throws -> Sample {
    let configuration = configuration(variant.features.format)
    let tables = variant.features.indirect ? IndirectTables(address: tableAddress, entries: 4) : nil
    var driver = try DriverQueue(configuration, features: variant.features, memory: memory, indirectTables: tables)
    var device = try DeviceQueue(configuration, features: variant.features, memory: memory)
    var chain = ChainBuffer(capacity: 8)
    let header: [DriverBuffer] = [DriverBuffer(address: dataAddress, count: 16)]
    let rest: [DriverBuffer] = [
        DriverBuffer(address: dataAddress + 0x1000, count: 4096), DriverBuffer(address: dataAddress + 0x2000, count: 1),
    ]
    let clock = ContinuousClock()
    var spent: (device: Duration, deviceEach: Duration, driver: Duration) = (.zero, .zero, .zero)
    var notifications = 0
    for round in 0..<rounds * 2 {
        let each = round & 1 == 1
        let start = clock.now
        for _ in 0..<batch { _ = try driver.add(readable: header.span, writable: rest.span) }
        if driver.publish() { notifications += 1 }
        let filled = clock.now
        var popped = 0
        while try device.pop(into: &chain) {
            popped += 1
            device.complete(chain, written: 4097)
            if each, device.publish() { notifications += 1 }
        }
        if device.publish() { notifications += 1 }
        let emptied = clock.now
        var back = 0
        while try driver.popUsed() != nil { back += 1 }
        let done = clock.now
        guard popped == batch, back == batch else { fatalError("\(variant.name): \(popped) popped and \(back) returned of \(batch)") }
        if each {
            spent.deviceEach += emptied - filled
        } else {
            spent.device += emptied - filled
            spent.driver += (filled - start) + (done - emptied)
        }
    }
    guard notifications > 0 else { fatalError("\(variant.name): no side ever wanted a notification") }
    let chains = Double(rounds * batch)
    return Sample(
        device: nanoseconds(spent.device) / chains, deviceEach: nanoseconds(spent.deviceEach) / chains,
        driver: nanoseconds(spent.driver) / chains)
}

func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted.count % 2 == 1 ? sorted[sorted.count / 2] : (sorted[sorted.count / 2 - 1] + sorted[sorted.count / 2]) / 2
}

/// A number with one decimal, right-aligned.
func column(_ value: Double, width: Int = 10) -> String {
    let tenths = Int((value * 10).rounded())
    let text = "\(tenths / 10).\(tenths % 10)"
    return String(repeating: " ", count: max(0, width - text.count)) + text
}

func trimmed(_ value: Double) -> String { column(value, width: 0) }

let variants = [
    Variant(name: "split", features: RingFeatures(format: .split, eventIndex: true)),
    Variant(name: "packed", features: RingFeatures(format: .packed, eventIndex: true)),
    Variant(name: "split, indirect", features: RingFeatures(format: .split, indirect: true, eventIndex: true)),
    Variant(name: "packed, indirect", features: RingFeatures(format: .packed, indirect: true, eventIndex: true)),
]
let json = CommandLine.arguments.dropFirst().contains("--json")
// Two regions, as a PC with RAM above 4 GiB has.
let memory = try GuestMemory(ranges: [0..<0x80_0000, 0x1_0000_0000..<0x1_0080_0000])

// RingBenchmark --instructions core|stream split|packed BATCHES: as many batches, for callgrind to count.
if let place = CommandLine.arguments.firstIndex(of: "--instructions"), CommandLine.arguments.count > place + 3 {
    let words = CommandLine.arguments[(place + 1)...].map { $0 }
    let features = RingFeatures(format: words[1] == "packed" ? .packed : .split, eventIndex: true)
    let batches = Int(words[2]) ?? 0
    if words[0] == "stream" {
        _ = try measureStream(features, batches: batches, memory: memory)
    } else {
        _ = try measureCore(features, batches: batches, memory: memory)
    }
    exit(0)
}

var lines: [String] = []
for variant in variants {
    _ = try measure(variant, memory: memory)  // warms caches and the branch predictor
    var samples: [Sample] = []
    for _ in 0..<runs { samples.append(try measure(variant, memory: memory)) }
    var (core, stream): ([Double], [Double]) = ([], [])
    var turns: [Double] = []
    for _ in 0..<runs { turns.append(try measureTurn(2000, memory: memory)) }
    for _ in 0..<runs {
        let one = try measureCore(variant.features.plain, batches: 2000, memory: memory)
        core.append(one.device)
        let driver = one.total - one.device + median(turns) / Double(streamBatch)
        stream.append(try measureStream(variant.features.plain, batches: 2000, memory: memory) - driver)
    }
    let columns = [samples.map(\.device), samples.map(\.deviceEach), samples.map(\.driver), core, stream]
    if json {
        let names = ["device_ns", "device_publish_each_ns", "driver_ns", "core_batch_ns", "stream_batch_ns"]
        let values = zip(names, columns).map { name, values in
            #""\#(name)": \#(trimmed(median(values))), "\#(name)_best": \#(trimmed(values.min() ?? 0))"#
        }
        lines.append(#"{"ring": "\#(variant.name)", \#(values.joined(separator: ", "))}"#)
    } else {
        let name = variant.name + String(repeating: " ", count: max(0, 18 - variant.name.count))
        lines.append(name + columns.map { column(median($0), width: 12) + column($0.min() ?? 0, width: 8) }.joined())
    }
}
if json {
    print(#"{"benchmark": "ring", "runs": \#(runs), "chains_per_run": \#(rounds * batch), "results": ["# + "\n  ", terminator: "")
    print(lines.joined(separator: ",\n  ") + "\n]}")
} else {
    print("ns per chain of 3 descriptors, median of \(runs) runs of \(rounds * batch) chains, one publish per \(batch) chains")
    print("last two: batches of \(streamBatch) without indirect tables, the driver's part taken away")
    print("                        device              each published              driver            core, batches      stream, batches")
    print("ring                    median    best      median    best      median    best      median    best      median    best")
    for line in lines { print(line) }
}
