import Host

/// Compares back-ends that serve the same disk over vhost-user: one client, one run, the same requests for each in turns.
/// `Tests/Benchmarks/bench` starts them.
@main
enum StorageBenchmark {
    static let usage = """
        usage: StorageBenchmark [--rounds N] [--milliseconds N] [--only LOAD] [--libblkio QEMU-IMG] [--samples]
                 :: NAME SOCKET PID[,PID…] [:: NAME SOCKET PID[,PID…]]…

          Each back-end listens at SOCKET, and the processes PID serve it: their processor time is counted.
          Every round measures every load on every back-end for so many milliseconds; the first round does not count.

          --only     measures one load: read-4k-1, read-4k-32, write-4k-1, write-4k-32, read-256k or write-256k
          --libblkio has another client ask the same back-ends in turns with ours, for the loads of 4 KiB: 'qemu-img bench' with libblkio
          --samples  prints lines for 'Bench report' in place of a table
        """

    static func main() {
        do throws(StorageError) {
            let options = try Options(CommandLine.arguments.dropFirst())
            let results = try measure(options)
            options.printsSamples ? printSamples(results) : printTable(results, options)
        } catch {
            StandardError.write("StorageBenchmark: \(error.message)\n")
            leave(with: 1)
        }
    }

    /// What was measured of each load on each back-end, in the order of loads and back-ends.
    private static func measure(_ options: Options) throws(StorageError) -> [Result] {
        let subjects = options.subjects
        var own = options.loads.map { load in subjects.map { Result(load: load, subject: $0.name) } }
        var others = options.loads.map { load in subjects.map { Result(load: load, subject: "\($0.name)/libblkio") } }
        for round in 0...options.rounds {
            for (number, load) in options.loads.enumerated() {
                // Whoever is second finds caches that the first has filled: they swap places.
                let order = round % 2 == 0 ? Array(subjects.indices) : subjects.indices.reversed()
                for index in order {
                    let sample = try ask(subjects[index], load, options)
                    if round > 0 { own[number][index].samples.append(sample) }
                    guard let libblkio = options.libblkio, libblkio.canRun(load) else { continue }
                    // About as long as ours, and the whole of it counts: its warm-up is part of it.
                    let requests = max(1000, Int(sample.rate * Double(options.milliseconds) / 1000))
                    let other = try libblkio.run(load, on: subjects[index], requests: requests)
                    if round > 0 { others[number][index].samples.append(other) }
                }
            }
        }
        return zip(own, others).flatMap { own, others in own + others.filter { !$0.samples.isEmpty } }
    }

    /// One run of a load by our own client. Back-ends serve one client at a time, so it comes and goes.
    private static func ask(_ subject: Subject, _ load: Load, _ options: Options) throws(StorageError) -> Sample {
        let disk = try Disk(subject)
        // Nothing of a warm-up counts: the other back-end's data are in the caches now.
        _ = try disk.run(load, milliseconds: max(options.milliseconds / 10, 1))
        return try disk.run(load, milliseconds: options.milliseconds)
    }
}

struct StorageError: Error {
    let message: String
    init(_ message: String) { self.message = message }
}

/// A back-end to measure.
struct Subject {
    let name: String
    let socket: String
    let processes: [Int32]

    /// What its processes have run so far, in nanoseconds.
    func processorTime() throws(SystemError) -> UInt64 {
        var total: UInt64 = 0
        for process in processes { total += try ProcessorTime.nanoseconds(of: process) }
        return total
    }
}

/// What stands on the command line.
struct Options {
    var rounds = 11
    var milliseconds = 200
    var loads = Load.all
    var printsSamples = false
    var libblkio: Libblkio?
    var subjects: [Subject] = []

    init(_ arguments: ArraySlice<String>) throws(StorageError) {
        let parts = arguments.split(separator: "::", omittingEmptySubsequences: false)
        var options = parts.first ?? []
        while let option = options.popFirst() {
            switch option {
            case "--rounds": rounds = try Self.number(option, options.popFirst())
            case "--milliseconds": milliseconds = try Self.number(option, options.popFirst())
            case "--only":
                let name = options.popFirst()
                loads = Load.all.filter { $0.name == name }
                guard !loads.isEmpty else { throw StorageError("no such load\n\n\(StorageBenchmark.usage)") }
            case "--samples": printsSamples = true
            case "--libblkio":
                guard let path = options.popFirst() else { throw StorageError("\(option) takes the path of a program") }
                libblkio = Libblkio(program: path)
            default: throw StorageError("unknown option '\(option)'\n\n\(StorageBenchmark.usage)")
            }
        }
        for part in parts.dropFirst() {
            let words = Array(part)
            guard words.count == 3 else { throw StorageError("'::' takes a name, a socket and processes\n\n\(StorageBenchmark.usage)") }
            let processes = words[2].split(separator: ",").compactMap { Int32($0) }
            guard !processes.isEmpty else { throw StorageError("'\(words[2])' names no process") }
            subjects.append(Subject(name: words[0], socket: words[1], processes: processes))
        }
        guard !subjects.isEmpty else { throw StorageError("nothing to measure\n\n\(StorageBenchmark.usage)") }
    }

    private static func number(_ option: String, _ value: String?) throws(StorageError) -> Int {
        guard let value, let number = Int(value), number > 0 else { throw StorageError("\(option) takes a positive number") }
        return number
    }
}
