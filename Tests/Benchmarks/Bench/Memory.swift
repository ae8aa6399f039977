import Glibc
import Host

/// Memory of a process outside guest RAM, in KiB.
struct Footprint {
    var privateKiB = 0
    var proportionalKiB = 0

    private struct Mapping {
        var name = ""
        var sizeKiB = 0
        var privateKiB = 0
        var proportionalKiB = 0
    }

    /// Reads /proc/PID/smaps. Guest RAM is a mapping of exactly its size, or two neighbours that are (of different attributes), or one of a
    /// memfd.
    init(processID: Int32, ramMiB: Int) throws(SystemError) {
        let text = String(decoding: try readWholeFile("/proc/\(processID)/smaps", limit: 8 << 20), as: UTF8.self)
        var mappings: [Mapping] = []
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ", omittingEmptySubsequences: true)
            guard let first = words.first else { continue }
            guard first.hasSuffix(":"), words.count >= 2, let value = Int(words[1]) else {
                // The heading of a mapping (addresses, flags, …, its name), or its flags.
                if first != "VmFlags:" { mappings.append(Mapping(name: String(line))) }
                continue
            }
            guard let last = mappings.indices.last else { continue }
            switch first {
            case "Size:": mappings[last].sizeKiB = value
            case "Private_Clean:", "Private_Dirty:": mappings[last].privateKiB += value
            case "Pss:": mappings[last].proportionalKiB = value
            default: break
            }
        }
        let ram = ramMiB * 1024
        for index in mappings.indices {
            let mapping = mappings[index]
            if mapping.sizeKiB == ram || mapping.name.firstRange(of: "/memfd:") != nil { continue }
            if index > 0, mappings[index - 1].sizeKiB + mapping.sizeKiB == ram { continue }
            if index + 1 < mappings.count, mappings[index + 1].sizeKiB + mapping.sizeKiB == ram { continue }
            privateKiB += mapping.privateKiB
            proportionalKiB += mapping.proportionalKiB
        }
    }
}

/// Lets several of each program live at a time, so that what they share is shared.
func measureMemory(_ options: Options) throws(BenchError) {
    for subject in options.subjects {
        var privateKiB: [Double] = []
        var proportional: [Double] = []
        do throws(BenchError) {
            for _ in 0..<options.rounds { try round(subject, options, &privateKiB, &proportional) }
            printSamples("private", subject.name, privateKiB)
            printSamples("proportional", subject.name, proportional)
        } catch {
            print("skipped private \(subject.name) \(error.message)")
        }
    }
}

private func round(_ subject: Subject, _ options: Options, _ privateKiB: inout [Double], _ proportional: inout [Double]) throws(BenchError)
{
    var machines: [Machine] = []
    for number in 1...options.machines {
        let numbered = Subject(
            name: subject.name,
            command: subject.command.map { $0.split(separator: "@N@", omittingEmptySubsequences: false).joined(separator: "\(number)") })
        machines.append(Machine(try Launch.start(numbered, until: options.text)))
    }
    // The guests halt after their first byte; what the programs still do at their start is soon over.
    _ = usleep(300_000)
    for machine in machines {
        do throws(SystemError) {
            let footprint = try Footprint(processID: machine.launch.child.processID, ramMiB: options.ramMiB)
            privateKiB.append(Double(footprint.privateKiB))
            proportional.append(Double(footprint.proportionalKiB))
        } catch {
            throw BenchError("\(subject.name): its memory cannot be read: \(error)")
        }
    }
}

/// Arrays hold no values without a copy.
private final class Machine {
    let launch: Launch
    init(_ launch: consuming Launch) { self.launch = launch }
}
