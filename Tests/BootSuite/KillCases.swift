/// Linux guests under load, whose devices' processes are killed again and again: as root, in the lab.
func killCases(_ options: Options) -> [TestCase] {
    let all = [("pci", false, 2), ("mmio", true, 1), ("pci", true, 2), ("mmio", false, 1)]
    let kills = (options.complete ? all : Array(all.prefix(2))).enumerated().map { turn, shape in
        let load = LoadedGuest(kernel: turn % 2 == 0 ? "6.12" : "6.1-cloud", transport: shape.0, packed: shape.1, cpus: shape.2)
        return TestCase(name: "kills: \(load.name)") { report in LoadedRun(load, options, report).run(kills: options.complete ? 200 : 20) }
    }
    guard options.complete else { return kills }
    let load = LoadedGuest(kernel: "6.12", transport: "pci", packed: false, cpus: 1)
    return kills + [TestCase(name: "kills: machine and supervisor under load") { LoadedRun(load, options, $0).runIntoEnds() }]
}
