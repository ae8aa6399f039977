import Host

/// Starts programs and measures what their start and their memory cost; `Tests/Benchmarks/bench` says which programs.
@main
enum Bench {
    static let usage = """
        usage: Bench start FIGURE [--runs N] [--text TEXT] :: NAME COMMAND… [:: NAME COMMAND…]…
               Bench commands [--runs N] [--before SCRIPT] :: FIGURE/NAME COMMAND… [:: FIGURE/NAME COMMAND…]…
               Bench talk [--runs N] [--pause MS] :: FIGURE/NAME SOCKET REQUEST ANSWER [:: FIGURE/NAME SOCKET REQUEST ANSWER]…
               Bench memory [--machines N] [--rounds N] [--ram MIB] :: NAME COMMAND… [:: NAME COMMAND…]…
               Bench copy FILE
               Bench report [--json]

          start    milliseconds from just before a program's start to its first byte, or to TEXT, on standard output
          commands milliseconds from just before a program's start to its end; a shell runs SCRIPT before each, which does not count
          talk     milliseconds from sending REQUEST to a Unix socket until ANSWER stands in what comes back; one connection for each socket,
                   the requests in the order given, again and again, MS apart; the figure '-' is sent and not reported
          memory   KiB of its memory outside guest RAM, private and proportional, while N of it are alive after their first byte;
                   in the command @N@ stands for the number of the one that is started
          copy     copies what a sparse file has into a memory file, and prints a line: what restoring RAM is compared with
          report   reads the lines that the others print from standard input and prints the table
        """

    static func main() {
        do throws(BenchError) {
            var arguments = CommandLine.arguments.dropFirst()
            switch arguments.popFirst() {
            case "start":
                guard let figure = arguments.popFirst() else { throw BenchError(usage) }
                let options = try Options(arguments)
                try measureStart(figure, options)
            case "commands": try measureCommands(try Options(arguments))
            case "talk": try measureTalk(try Options(arguments))
            case "memory": try measureMemory(try Options(arguments))
            case "copy":
                guard let path = arguments.popFirst() else { throw BenchError(usage) }
                try copyToMemory(path)
            case "report": try report(json: arguments.first == "--json")
            default: throw BenchError(usage)
            }
        } catch {
            StandardError.write("Bench: \(error.message)\n")
            leave(with: 1)
        }
    }
}

struct BenchError: Error {
    let message: String
    init(_ message: String) { self.message = message }
}

/// A program to measure.
struct Subject {
    let name: String
    let command: [String]
}

/// What stands on the command line behind the verb.
struct Options {
    var runs = 21
    var text = ""
    var before = ""
    var pause = 0
    var machines = 10
    var rounds = 2
    var ramMiB = 128
    var subjects: [Subject] = []

    init(_ arguments: ArraySlice<String>) throws(BenchError) {
        let parts = arguments.split(separator: "::", omittingEmptySubsequences: false)
        var options = parts.first ?? []
        func number(_ option: String, _ value: String) throws(BenchError) -> Int {
            guard let number = Int(value), number > 0 else { throw BenchError("\(option) takes a positive number, not '\(value)'") }
            return number
        }
        while let option = options.popFirst() {
            guard let value = options.popFirst() else { throw BenchError("\(option) takes a value\n\n\(Bench.usage)") }
            switch option {
            case "--runs": runs = try number(option, value)
            case "--text": text = value
            case "--before": before = value
            case "--pause": pause = try number(option, value)
            case "--machines": machines = try number(option, value)
            case "--rounds": rounds = try number(option, value)
            case "--ram": ramMiB = try number(option, value)
            default: throw BenchError("unknown option '\(option)'\n\n\(Bench.usage)")
            }
        }
        for part in parts.dropFirst() {
            guard let name = part.first, part.count > 1 else { throw BenchError("'::' takes a name and a command\n\n\(Bench.usage)") }
            subjects.append(Subject(name: name, command: Array(part.dropFirst())))
        }
        guard !subjects.isEmpty else { throw BenchError("nothing to measure\n\n\(Bench.usage)") }
    }
}
