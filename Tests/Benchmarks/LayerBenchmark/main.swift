// What a block read costs in each layer of the driver's side, with a device that answers at once on the same thread: the ring alone, the
// queue of requests on a transport, the block driver. The device's part is the same in all. Batches of 16.
//
//   LayerBenchmark [--json]                       ns per request, median and best of many runs
//   LayerBenchmark --count LAYER RING REQUESTS    only so many requests, for a tool that counts instructions

import Host
import Virtio
import VirtioDriver
import Virtqueue

enum Layer: String, CaseIterable {
    case ring, requests, block
}

let batch = 16
let perRun = 16 * 2000
let runs = 51

/// One layer, ready to be measured: `step` makes, serves and takes back a batch.
struct Subject {
    let name: String
    let step: () throws -> Void
}

func transport(_ device: NullDisk, packed: Bool) throws -> LoopbackTransport {
    try LoopbackTransport(device, wanted: packed ? [.ours, .ringPacked] : .ours)
}

/// Holds a queue that a closure can change.
final class Held<Value: ~Copyable> {
    var value: Value
    init(_ value: consuming Value) { self.value = value }
}

func ring(packed: Bool) throws -> Subject {
    let device = NullDisk()
    let way = try transport(device, packed: packed)
    let rig = Held(try RawQueue(way))
    return Subject(name: "ring") {
        try rig.value.add(batch)
        guard device.serve() == batch, try rig.value.take() == batch else { fatalError("ring: a request was lost") }
    }
}

func requests(packed: Bool) throws -> Subject {
    let device = NullDisk()
    let way = try transport(device, packed: packed)
    let queue = Held(try RequestQueue<NullRequest>.make(on: way, size: 128, tableEntries: 16))
    let memory = try SharedMemory(byteCount: batch * 4096)
    _ = try way.map(memory)
    return Subject(name: "requests") {
        for index in 0..<batch {
            let data = memory.range.slice(from: index * 4096, count: 4096)
            try queue.value.add(NullRequest(), context: UInt64(index)) { (chain) throws(DriverError) in
                try chain.appendReadable(place: 0..<16)
                try chain.appendWritable(data)
                try chain.appendWritable(place: 16..<17)
            }
        }
        queue.value.submit()
        var taken = 0
        guard device.serve() == batch else { fatalError("requests: one was lost") }
        while try queue.value.nextCompletion() != nil { taken += 1 }
        guard taken == batch else { fatalError("requests: one was lost") }
    }
}

func block(packed: Bool) throws -> Subject {
    let device = NullDisk()
    let driver = try BlockDriver(try transport(device, packed: packed))
    let memory = try driver.makeMemory(byteCount: batch * 4096)
    let queue = Held(try driver.takeQueue())
    return Subject(name: "block") {
        for index in 0..<batch {
            try queue.value.read(
                at: UInt64(index * 4096), into: memory.range.slice(from: index * 4096, count: 4096), context: UInt64(index))
        }
        queue.value.submit()
        var taken = 0
        guard device.serve() == batch else { fatalError("block: a request was lost") }
        while let completion = try queue.value.nextCompletion() { if completion.status == .ok { taken += 1 } }
        guard taken == batch else { fatalError("block: a request was lost") }
    }
}

func subject(_ layer: Layer, packed: Bool) throws -> Subject {
    switch layer {
    case .ring: try ring(packed: packed)
    case .requests: try requests(packed: packed)
    case .block: try block(packed: packed)
    }
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

func text(_ value: Double, width: Int = 10) -> String {
    let tenths = Int((value * 10).rounded())
    let digits = "\(tenths / 10).\(tenths % 10)"
    return String(repeating: " ", count: max(0, width - digits.count)) + digits
}

let arguments = Array(CommandLine.arguments.dropFirst())
if arguments.count == 4, arguments[0] == "--count", let layer = Layer(rawValue: arguments[1]), let count = Int(arguments[3]) {
    let subject = try subject(layer, packed: arguments[2] == "packed")
    for _ in 0..<count / batch { try subject.step() }
} else {
    let isJSON = arguments.contains("--json")
    if !isJSON { print("ns per read of 4 KiB in batches of \(batch), both sides; median of \(runs) runs, and the best") }
    for packed in [false, true] {
        for layer in Layer.allCases {
            let subject = try subject(layer, packed: packed)
            var samples: [Double] = []
            for run in 0...runs {
                let start = monotonicNanoseconds()
                for _ in 0..<perRun / batch { try subject.step() }
                if run > 0 { samples.append(Double(monotonicNanoseconds() - start) / Double(perRun)) }
            }
            let ring = packed ? "packed" : "split"
            if isJSON {
                print(
                    #"{"layer": "\#(layer.rawValue)", "ring": "\#(ring)", "runs": \#(runs), "median": \#(text(median(samples), width: 0)), "best": \#(text(samples.min() ?? 0, width: 0))}"#
                )
            } else {
                let name = "\(layer.rawValue), \(ring)"
                print(name + String(repeating: " ", count: max(0, 18 - name.count)) + text(median(samples)) + text(samples.min() ?? 0))
            }
        }
    }
}
