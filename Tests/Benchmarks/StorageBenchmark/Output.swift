/// Lines for 'Bench report': requests per second, megabytes per second and µs of the back-end's processor time for each request.
func printSamples(_ results: [Result]) {
    for result in results {
        let name = result.load.name
        func line(_ figure: String, _ values: [Double]) {
            print("samples \(name)\(figure) \(result.subject) \(values.map { "\($0)" }.joined(separator: " "))")
        }
        line("-rate", result.samples.map(\.rate))
        line("-bytes", result.samples.map { $0.rate * Double(result.load.bytes) / 1e6 })
        line("-cpu", result.samples.map(\.processorTime))
    }
}

/// Medians, and how the first back-end's compare with those of each other.
func printTable(_ results: [Result], _ options: Options) {
    print("medians of \(options.rounds) rounds of \(options.milliseconds) ms each; x: the first back-end's median by this one's")
    print(row(["load", "back-end", "requests/s", "x", "MB/s", "CPU us/request", "x"]))
    for load in options.loads {
        let own = results.filter { $0.load.name == load.name }
        for (index, result) in own.enumerated() {
            let first = index > 0 ? own.first : nil
            print(
                row([
                    index == 0 ? load.name : "", result.subject, number(result.rate, places: 0),
                    first.map { number($0.rate / result.rate, places: 2) } ?? "", number(result.megabytes, places: 1),
                    number(result.processorTime, places: 2),
                    first.map { number($0.processorTime / result.processorTime, places: 2) } ?? "",
                ]))
        }
    }
}

private func row(_ cells: [String]) -> String {
    let widths = [12, 16, 12, 6, 10, 16, 6]
    var line = ""
    for (index, (cell, width)) in zip(cells, widths).enumerated() {
        let padding = String(repeating: " ", count: max(0, width - cell.count))
        line += index < 2 ? cell + padding : padding + cell
    }
    while line.last == " " { line.removeLast() }
    return line
}

private func number(_ value: Double, places: Int) -> String {
    guard value.isFinite, value.magnitude < 1e12 else { return "-" }
    let scale = [1.0, 10, 100][places]
    let whole = Int((value.magnitude * scale).rounded())
    let digits = String(repeating: "0", count: max(0, places + 1 - "\(whole)".count)) + "\(whole)"
    return places == 0 ? digits : "\(digits.dropLast(places)).\(digits.suffix(places))"
}
