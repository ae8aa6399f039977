import Glibc
import Host
import Virtqueue

/// A program that runs, its standard output held by us.
struct Launch: ~Copyable {
    let child: ChildProcess
    /// From just before the start until what was waited for had arrived.
    let milliseconds: Double
    private let output: OwnedDescriptor

    /// Starts a program and waits for its first byte, or for a text, at most two minutes. Killed when this value goes.
    static func start(_ subject: Subject, until text: String) throws(BenchError) -> Launch {
        do {
            let program = subject.command[0]
            guard let path = findProgram(program) else { throw BenchError("\(program): no such program") }
            let null = try OwnedDescriptor.open("/dev/null", flags: O_RDWR)
            let pipe = try Pipe()
            let streams = [
                InheritedDescriptor(null.rawValue, as: 0), InheritedDescriptor(pipe.writer.rawValue, as: 1),
                InheritedDescriptor(null.rawValue, as: 2),
            ]
            // On Linux this clock is CLOCK_MONOTONIC.
            let clock = SuspendingClock()
            let start = clock.now
            let child = try ChildProcess(path: path, arguments: subject.command, descriptors: streams)
            let output = try onlyReader(pipe)
            try wait(for: text, on: output, of: subject)
            return Launch(child: child, milliseconds: milliseconds(clock.now - start), output: output)
        } catch let error as BenchError {
            throw error
        } catch {
            throw BenchError("\(subject.name): \(error)")
        }
    }

    /// Closes our copy of the end that the child writes to.
    private static func onlyReader(_ pipe: consuming Pipe) throws(SystemError) -> OwnedDescriptor { try pipe.reader.duplicate() }

    private static func wait(for text: String, on output: borrowing OwnedDescriptor, of subject: Subject) throws {
        let wanted = Array(text.utf8)
        let deadline = MonotonicTime.now + 120_000
        let poller = try Poller()
        try poller.add(output.rawValue, token: 0)
        var seen: [UInt8] = []
        repeat {
            let left = deadline - MonotonicTime.now
            guard left > 0 else { throw BenchError("\(subject.name) said nothing for two minutes") }
            guard try poller.wait(timeoutMilliseconds: Int32(clamping: left), { _ in }) > 0 else { continue }
            let bytes = try output.readSome(4096)
            guard !bytes.isEmpty else {
                throw BenchError("\(subject.name) ended before it said what was waited for: \(subject.command.joined(separator: " "))")
            }
            seen += bytes
        } while seen.isEmpty || seen.firstRange(of: wanted) == nil && !wanted.isEmpty
    }

    static func milliseconds(_ duration: Duration) -> Double {
        let (seconds, attoseconds) = duration.components
        return Double(seconds) * 1e3 + Double(attoseconds) / 1e15
    }
}

/// Each run measures every program once: what the machine does meanwhile falls upon all of them.
func measureStart(_ figure: String, _ options: Options) throws(BenchError) {
    var failed: Set<String> = []
    var samples: [String: [Double]] = [:]
    // The first run fills the page cache, and does not count.
    for run in 0...options.runs {
        for subject in options.subjects where !failed.contains(subject.name) {
            do throws(BenchError) {
                let launch = try Launch.start(subject, until: options.text)
                if run > 0 { samples[subject.name, default: []].append(launch.milliseconds) }
            } catch {
                failed.insert(subject.name)
                print("skipped \(figure) \(subject.name) \(error.message)")
            }
        }
    }
    for subject in options.subjects where !failed.contains(subject.name) {
        printSamples(figure, subject.name, samples[subject.name] ?? [])
    }
}

func printSamples(_ figure: String, _ subject: String, _ values: [Double]) {
    print("samples \(figure) \(subject) \(values.map { "\($0)" }.joined(separator: " "))")
}
