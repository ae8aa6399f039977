import Glibc
import Host

/// The ways in which a Linux guest can end, and the exit codes for them (Docs/exit-codes.md).
func endingCases(_ options: Options) -> [TestCase] {
    func ending(
        _ name: String, kernel: String, transport: String = "pci", end: String, words: String = "", extra: [String] = [],
        code: Int32, expects line: String? = nil
    ) -> TestCase {
        TestCase(name: "end: \(name)") { report in
            let scratch = Scratch("end")
            let begin = MonotonicTime.now
            defer {
                scratch.remove()
                report.remark("end: \(name): \((MonotonicTime.now - begin) / 1000) s")
            }
            var vm = VMFile(kernel: "\(options.guests)/\(kernel)")
            vm.isolation = options.isolation
            vm.initrd = "\(options.guests)/\(kernel).initrd"
            vm.memory = "256M"
            vm.transport = transport
            vm.serial = "{ \"file\": \"serial.log\" }"
            vm.commandLine = "console=ttyS0 quiet panic=-1 swvmm.mode=script swvmm.console=hvc0 swvmm.end=\(end) \(words)"
            vm.devices = [
                "\"id\": \"console\", \"type\": \"console\"", "\"id\": \"data\", \"type\": \"block\", \"path\": \"data.img\"",
            ]
            vm.extra = extra
            _ = Command.shell("truncate -s 1M \(scratch.path)/data.img")
            do throws(SystemError) {
                let machine = try RunningVM(swvmm: options.swvmm, configuration: scratch.write("vm.json", vm.text))
                let deadline = MonotonicTime.now + 120_000
                var seen = line == nil
                while let said = machine.nextLine(before: deadline) {
                    if said == line { seen = true }
                    if said == "WAITING" { machine.signal(SIGTERM) }
                }
                let status = machine.status
                machine.kill()
                var problem: String?
                if status != .exited(code) {
                    problem = "expected exit code \(code), found \(status.map { "\($0)" } ?? "none in 120 s")"
                } else if !seen {
                    problem = "expected the guest to say '\(line ?? "")'"
                }
                let context =
                    machine.history.suffix(15) + lines(machine.complaints, last: 5).map { "stderr: \($0)" }
                    + lines(Command.shell("cat \(scratch.path)/serial.log") ?? "").map { "serial: \($0)" }
                report.note("end: \(name)", problem, context: Array(context))
            } catch {
                report.note("end: \(name)", "\(error)")
            }
        }
    }
    return [
        ending("reboot", kernel: "6.1-cloud-elf", end: "reboot", code: 80),
        ending(
            "reboot, then started again", kernel: "6.1-cloud-elf", transport: "mmio", end: "again",
            extra: ["\"onReboot\": \"restart\""], code: 0, expects: "CHECK restart ok"),
        ending("panic", kernel: "6.12", end: "panic", code: 81),
        ending("triple fault", kernel: "6.1-cloud-elf", end: "reboot", words: "reboot=t", code: 82),
        ending(
            "power button ignored", kernel: "6.1-cloud-elf", end: "ignore", extra: ["\"shutdownTimeout\": 2"], code: 83),
    ]
}
