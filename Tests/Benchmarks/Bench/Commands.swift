import Host

/// Each run carries every command out once, after the script that clears its place; the first run does not count.
func measureCommands(_ options: Options) throws(BenchError) {
    var failed: Set<String> = []
    var samples: [String: [Double]] = [:]
    for run in 0...options.runs {
        for subject in options.subjects where !failed.contains(subject.name) {
            do throws(BenchError) {
                if !options.before.isEmpty { _ = try carryOut(["/bin/sh", "-c", options.before]) }
                let time = try carryOut(subject.command)
                if run > 0 { samples[subject.name, default: []].append(time) }
            } catch {
                failed.insert(subject.name)
                let (figure, name) = figureAndName(subject)
                print("skipped \(figure) \(name) \(error.message)")
            }
        }
    }
    for subject in options.subjects where !failed.contains(subject.name) {
        let (figure, name) = figureAndName(subject)
        printSamples(figure, name, samples[subject.name] ?? [])
    }
}

/// "FIGURE/NAME" in its parts.
func figureAndName(_ subject: Subject) -> (figure: String, name: String) {
    let parts = subject.name.split(separator: "/", maxSplits: 1)
    return (String(parts.first ?? ""), String(parts.last ?? ""))
}

/// Runs a program to its end, at most two minutes, and returns how long that took, in milliseconds.
private func carryOut(_ command: [String]) throws(BenchError) -> Double {
    guard let path = findProgram(command[0]) else { throw BenchError("\(command[0]): no such program") }
    let spoken = command.joined(separator: " ")
    let end: ExitStatus?
    let time: Double
    do throws(SystemError) {
        let clock = SuspendingClock()
        let start = clock.now
        var child = try ChildProcess(path: path, arguments: command)
        end = try child.wait(timeoutMilliseconds: 120_000)
        time = Launch.milliseconds(clock.now - start)
    } catch {
        throw BenchError("\(spoken): \(error)")
    }
    guard end == .exited(0) else { throw BenchError("\(spoken): \(end.map { "\($0)" } ?? "ran for two minutes")") }
    return time
}
