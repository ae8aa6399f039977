import Host

/// Runs `swvmm` from outside, as a person would, and checks what comes of it. `Tests/run` starts it; see `usage`.
@main
enum BootSuite {
    static let usage = """
        usage: BootSuite GROUP --swvmm PATH [OPTION…]

        GROUP is
          bad-input   configurations that cannot be used, and what swvmm says to them (anywhere)
          payload     bare-metal guests (wherever there is a /dev/kvm)
          driver      a bare-metal guest that drives every device over every transport (likewise)
          lifecycle   bare-metal guests that are put to sleep, saved and restored (likewise)
          boot        Linux guests (as root, in the lab)
          cycles      Linux guests that are put to sleep, saved and restored under load (likewise)
          jail        bare-metal guests with devices in jailed processes, which are killed, stopped and looked at (as payload)
          kills       Linux guests under load, whose devices' processes are killed (as boot)
          foreign     Linux guests with the back-ends of others, some of which are killed (as boot)
          peers       devices behind the front-ends of QEMU and DPDK (anywhere; what is not installed is left out)
          vdpa        vDPA devices of the host's kernel, of ours and of others, in guests and on the host (as boot)
          policies    whether every entry of the seccomp policies is used (see Tests/Checks/policies)

          --swvmm PATH      the program
          --payloads DIR    what Tests/Guests/build made
          --guests DIR      KERNEL and KERNEL.initrd for each kernel, or links to them; for peers also peers and peers.initrd
          --isolation WHERE where guests and their devices live: process (as by default) or none
          --complete        the whole boot matrix, not the representative part
          --part I/N        only every Nth case, beginning with the Ith (from 1)
          --filter TEXT     only cases whose name contains TEXT
          --checks A,B      boots run only these checks of guest-test.sh
          --list            only print the names of the cases
        """

    static func main() {
        ignoreBrokenPipes()
        do throws(SuiteError) {
            let options = try Options(Array(CommandLine.arguments.dropFirst()))
            let cases = try self.cases(options).filter { options.filter.isEmpty || $0.name.firstRange(of: options.filter) != nil }
                .enumerated().filter { $0.offset % options.part.count == options.part.index }.map(\.element)
            if options.listOnly {
                for testCase in cases { print(testCase.name) }
                leave(with: 0)
            }
            guard !cases.isEmpty else { throw SuiteError("no case's name contains '\(options.filter)' (--list shows them)") }
            let report = Report()
            for testCase in cases { testCase.run(report) }
            report.close()
        } catch {
            StandardError.write("BootSuite: \(error.message)\n")
            leave(with: 64)
        }
    }

    private static func cases(_ options: Options) throws(SuiteError) -> [TestCase] {
        switch options.group {
        case "bad-input": badInputCases(options) + diskToolCases(options)
        case "payload": payloadCases(options)
        case "driver": driverCases(options) + serviceDriverCases(options)
        case "lifecycle": lifecycleCases(options)
        case "cycles": linuxLifecycleCases(options) + cloneCases(options)
        case "boot": bootCases(options) + endingCases(options) + steadyCases(options)
        case "jail": jailCases(options) + hangCases(options)
        case "foreign": foreignCases(options)
        case "kills": killCases(options) + heldStorageCases(options)
        case "peers": peerCases(options)
        case "vdpa": vdpaCases(options) + vdpaDriverCases(options)
        case "policies": policyCases(options)
        default: throw SuiteError("unknown group '\(options.group)'\n\n\(usage)")
        }
    }
}

/// Something to run, which notes its results.
struct TestCase {
    let name: String
    let run: (Report) -> Void
}

struct SuiteError: Error {
    let message: String
    init(_ message: String) { self.message = message }
}

/// The command line.
struct Options {
    var group = ""
    var swvmm = ".build/release/swvmm"
    var payloads = ""
    var guests = ""
    var complete = false
    var filter = ""
    var isolation: String?
    var checks: [String] = []
    /// Which of the cases, counted from 0, and of how many groups.
    var part = (index: 0, count: 1)
    var listOnly = false
    /// For the group `policies`: what was seen, and where the policies are.
    var calls = ""
    var policies = ""

    init(_ arguments: [String]) throws(SuiteError) {
        var rest = arguments[...]
        func value(_ option: String) throws(SuiteError) -> String {
            guard let value = rest.popFirst() else { throw SuiteError("\(option) takes a value") }
            return value
        }
        while let argument = rest.popFirst() {
            switch argument {
            case "--swvmm": swvmm = try value(argument)
            case "--payloads": payloads = try value(argument)
            case "--guests": guests = try value(argument)
            case "--filter": filter = try value(argument)
            case "--part":
                let numbers = try value(argument).split(separator: "/").map { Int($0) ?? 0 }
                guard numbers.count == 2, numbers[0] >= 1, numbers[0] <= numbers[1] else { throw SuiteError("--part takes I/N, like 1/2") }
                part = (numbers[0] - 1, numbers[1])
            case "--isolation": isolation = try value(argument)
            case "--checks": checks = try value(argument).split(separator: ",").map(String.init)
            case "--complete": complete = true
            case "--representative": complete = false
            case "--list": listOnly = true
            case "--calls": calls = try value(argument)
            case "--policies": policies = try value(argument)
            case "--help":
                print(BootSuite.usage)
                leave(with: 0)
            default:
                guard group.isEmpty, !argument.hasPrefix("-") else {
                    throw SuiteError("unknown argument '\(argument)'\n\n\(BootSuite.usage)")
                }
                group = argument
            }
        }
        if !swvmm.hasPrefix("/") { swvmm = "\(currentDirectory())/\(swvmm)" }
    }
}

/// A directory for one case's files.
struct Scratch {
    let path: String

    /// Makes it, empty, below /tmp.
    init(_ name: String) {
        let plain = name.map { $0.isLetter || $0.isNumber ? $0 : "-" }
        path = Command.shell("mktemp -d /tmp/swvmm-suite.\(String(plain)).XXXXXX") ?? "/tmp/swvmm-suite"
    }

    /// Writes a file and returns its path.
    @discardableResult
    func write(_ name: String, _ text: String) -> String {
        let file = "\(path)/\(name)"
        if let descriptor = try? OwnedDescriptor.open(file, flags: OpenFlags.replace, mode: 0o644), let stream = try? ByteStream(descriptor)
        {
            _ = stream.write(text)
        }
        return file
    }

    func remove() { _ = Command.run(["rm", "-rf", path]) }
}
