import Glibc
import Host

/// Bare-metal guests: they print, and end the VM with a code of their own, which becomes swvmm's.
func payloadCases(_ options: Options) -> [TestCase] {
    func payload(
        _ name: String, file: String, cpus: Int = 1, memory: String = "128M", says: [String], ends code: Int32
    ) -> TestCase {
        TestCase(name: "payload: \(name)") { report in
            let scratch = Scratch("payload")
            defer { scratch.remove() }
            var vm = VMFile(kernel: "\(options.payloads)/\(file)")
            vm.cpus = cpus
            vm.memory = memory
            vm.commandLine = "one two exit=\(code)"
            vm.serial = "\"stdio\""
            vm.extra = ["\"debugExit\": true"]
            let result = Command.run([options.swvmm, "run", "--config", scratch.write("vm.json", vm.text)], seconds: 30)
            var problem: String?
            if result.status != .exited(code) {
                problem = "expected exit code \(code), found \(result.status.map { "\($0)" } ?? "none in 30 s")"
            } else if let missing = says.first(where: { result.output.firstRange(of: $0) == nil }) {
                problem = "expected '\(missing)' in its output"
            }
            report.note("payload: \(name)", problem, context: lines(result.output + result.errors))
        }
    }
    // More memory than the host has is refused, and the lab has little.
    let large = HostFacts.memorySize.map { $0 > 6 << 30 } ?? false
    return [
        payload("64-bit entry", file: "hello", says: ["hello from long mode", "command line: one two exit=42\n"], ends: 42),
        payload("PVH entry", file: "hello-pvh", says: ["hello from PVH", "command line: one two exit=7\n"], ends: 7),
        payload(
            "two processors, memory \(large ? "above" : "below") 4 GiB", file: "hello", cpus: 2, memory: large ? "5G" : "1G",
            says: ["hello from long mode"], ends: 0),
        TestCase(name: "payload: a halted guest is ended by SIGTERM") { report in
            let scratch = Scratch("payload")
            defer { scratch.remove() }
            // Without the exit register the payload halts for good.
            var vm = VMFile(kernel: "\(options.payloads)/hello")
            vm.memory = "128M"
            vm.commandLine = "exit=0"
            vm.serial = "\"stdio\""
            vm.extra = ["\"shutdownTimeout\": 1"]
            do throws(SystemError) {
                let machine = try RunningVM(swvmm: options.swvmm, configuration: scratch.write("vm.json", vm.text))
                let deadline = MonotonicTime.now + 30000
                while let line = machine.nextLine(before: deadline), !line.hasPrefix("memory map entries") {}
                machine.signal(SIGTERM)
                let status = machine.waitForEnd(before: deadline)
                machine.kill()
                report.note(
                    "payload: a halted guest is ended by SIGTERM",
                    status == .exited(83) ? nil : "expected exit code 83, found \(status.map { "\($0)" } ?? "none")",
                    context: machine.history + lines(machine.complaints))
            } catch {
                report.note("payload: a halted guest is ended by SIGTERM", "\(error)")
            }
        },
    ]
}

/// The last lines of a text.
func lines(_ text: String, last count: Int = 15) -> [String] {
    text.split(separator: "\n").suffix(count).map(String.init)
}
