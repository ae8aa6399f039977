import Glibc
import Host

/// Guests of ours with the back-ends of others: as root, in the lab.
func foreignCases(_ options: Options) -> [TestCase] {
    let needs = ["qemu-storage-daemon", "qemu-img", ForeignServer.fileServer, "socat", "ss"]
    func single(_ name: String, _ body: @escaping (ForeignGuestRun) throws -> Void) -> TestCase {
        TestCase(name: "foreign: \(name)") { report in
            if let missing = needs.first(where: { findProgram($0) == nil }) {
                return report.remark("foreign: \(name): left out, \(missing) is not installed")
            }
            let begin = MonotonicTime.now
            let run = ForeignGuestRun(options) { report.note("foreign: \(name): \($0)", nil) }
            defer { run.clear() }
            do { try body(run) } catch let failure as PeerFailure {
                report.note("foreign: \(name)", failure.reason, context: failure.context)
            } catch {
                report.note("foreign: \(name)", "\(error)")
            }
            report.remark("foreign: \(name): \((MonotonicTime.now - begin) / 1000) s")
        }
    }
    func loaded(_ load: LoadedGuest, _ run: @escaping (LoadedRun) -> Void) -> TestCase {
        TestCase(name: "foreign: \(load.name)") { report in run(LoadedRun(load, options, report)) }
    }
    let killed = LoadedGuest(kernel: "6.12", transport: "pci", packed: false, cpus: 1, backEnds: .ours)
    let cycled = LoadedGuest(kernel: "6.12", transport: "pci", packed: false, cpus: 1, backEnds: .others)
    let few = [
        single("disk, share and network") { try $0.useEverything() },
        loaded(killed) { $0.run(kills: options.complete ? 50 : 4) },
    ]
    guard options.complete else { return few }
    let mmio = LoadedGuest(kernel: "6.1-cloud", transport: "mmio", packed: false, cpus: 2, backEnds: .ours)
    let packed = LoadedGuest(kernel: "6.12", transport: "pci", packed: true, cpus: 1, backEnds: .ours)
    return few + [
        single("a disk whose back-end is killed") { try $0.killDisk() },
        loaded(cycled) { $0.run(cycles: 3) }, loaded(mmio) { $0.run(kills: 20) }, loaded(packed) { $0.run(kills: 20) },
    ]
}
