import Host

/// What swvmm's median is to be compared with.
struct Bound {
    /// It is to be at most this many times …
    let times: Double
    /// … the median of this program …
    let subject: String
    /// … in this figure; nil is the figure itself.
    var figure: String?

    /// The bound in words.
    var text: String { "<= \(decimal(times)) x \(figure ?? (subject == "qemu" ? "QEMU" : subject))" }
}

/// What is measured, and what it aims at.
struct Figure {
    let id: String
    let title: String
    let unit: String
    /// swvmm's median is to be at most this.
    var most: Double?
    var bound: Bound?

    static let all = [
        Figure(
            id: "first-byte", title: "start to a guest's first byte", unit: "ms", most: 2.5, bound: Bound(times: 0.07, subject: "qemu")),
        Figure(id: "first-byte-jailed", title: "the same, with three devices in processes", unit: "ms", most: 10),
        Figure(id: "userspace", title: "start to guest userspace, in the lab", unit: "ms", bound: Bound(times: 0.55, subject: "qemu")),
        Figure(id: "sleep", title: "sleep, by socket", unit: "ms", most: 2),
        Figure(id: "wake", title: "wake, by socket", unit: "ms", most: 2),
        Figure(id: "sleep-command", title: "swvmm sleep", unit: "ms"),
        Figure(id: "wake-command", title: "swvmm wake", unit: "ms"),
        Figure(id: "snapshot-128", title: "snapshot of 64 MiB in 128 MiB, to tmpfs", unit: "ms", bound: Bound(times: 1.2, subject: "cp")),
        Figure(id: "snapshot-1024", title: "snapshot of 64 MiB in 1 GiB, to tmpfs", unit: "ms", bound: Bound(times: 1.2, subject: "cp")),
        Figure(id: "snapshot-8192", title: "snapshot of 64 MiB in 8 GiB, to tmpfs", unit: "ms", bound: Bound(times: 1.2, subject: "cp")),
        Figure(
            id: "snapshot-synced", title: "snapshot of 64 MiB in 128 MiB, on storage", unit: "ms",
            bound: Bound(times: 1.2, subject: "cp+sync")),
        Figure(id: "restore-128", title: "restore to first output, 128 MiB", unit: "ms", most: 5),
        Figure(id: "restore-1024", title: "restore to first output, 1 GiB", unit: "ms", most: 5),
        Figure(
            id: "restore-8192", title: "restore to first output, 8 GiB", unit: "ms", most: 5,
            bound: Bound(times: 1.5, subject: "swvmm", figure: "restore-128")),
        Figure(id: "private", title: "private memory outside guest RAM", unit: "KiB", most: 1024),
        Figure(id: "proportional", title: "proportional memory outside guest RAM", unit: "KiB"),
        Figure(id: "private-device", title: "private memory of a device's process", unit: "KiB", most: 1536),
        Figure(id: "private-machine", title: "private memory of the machine's process", unit: "KiB"),
        Figure(id: "private-supervisor", title: "private memory of their supervisor", unit: "KiB"),
        Figure(id: "split-device", title: "split chain, device side", unit: "ns", most: 35),
        Figure(id: "split-driver", title: "split chain, driver side", unit: "ns"),
        Figure(id: "packed-device", title: "packed chain, device side", unit: "ns"),
        Figure(id: "packed-driver", title: "packed chain, driver side", unit: "ns"),
    ]

    var aim: String {
        var parts: [String] = []
        if let most { parts.append("<= \(decimal(most)) \(unit)") }
        if let bound { parts.append(bound.text) }
        return parts.joined(separator: ", ")
    }

    /// Whether the aim is met; nil when there is none, or what to compare with was not measured.
    func verdict(_ result: Result, among results: [Result]) -> Bool? {
        guard result.subject == "swvmm" else { return nil }
        if let most, result.median > most { return false }
        guard let bound else { return most == nil ? nil : true }
        guard let peer = results.first(where: { $0.figure == bound.figure ?? id && $0.subject == bound.subject }) else { return nil }
        return result.median <= bound.times * peer.median
    }
}

/// One program's figure.
struct Result {
    let figure: String
    let subject: String
    let runs: Int
    let median: Double
    let least: Double

    /// Reads "samples FIGURE SUBJECT VALUE…" or "summary FIGURE SUBJECT RUNS MEDIAN LEAST".
    init?(_ words: [Substring]) {
        guard words.count > 3 else { return nil }
        figure = String(words[1])
        subject = String(words[2])
        let values = words[3...].compactMap { Double($0) }
        switch words[0] {
        case "samples":
            let sorted = values.sorted()
            guard let first = sorted.first else { return nil }
            runs = sorted.count
            let half = sorted.count / 2
            median = sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
            least = first
        case "summary":
            guard values.count == 3 else { return nil }
            runs = Int(values[0])
            median = values[1]
            least = values[2]
        default: return nil
        }
    }
}

/// Turns what was measured into a table, or into JSON. Fails when nothing was.
func report(json: Bool) throws(BenchError) {
    var results: [Result] = []
    var skipped: [String] = []
    while let line = readLine() {
        let words = line.split(separator: " ")
        if let result = Result(words) {
            results.append(result)
        } else if words.first == "skipped" {
            skipped.append(words.dropFirst().joined(separator: " "))
        } else {
            StandardError.write(line + "\n")
        }
    }
    guard !results.isEmpty else { throw BenchError("nothing was measured") }
    var rows: [[String]] = [["figure", "program", "runs", "median", "least", "x QEMU", "aim", "met"]]
    var objects: [String] = []
    for figure in Figure.all {
        let own = results.filter { $0.figure == figure.id }
        let peer = own.first { $0.subject == "qemu" }?.median
        for (index, result) in own.enumerated() {
            let ratio = peer.map { result.median / $0 }
            let met = figure.verdict(result, among: results)
            rows.append([
                index == 0 ? figure.title : "", result.subject, "\(result.runs)", "\(decimal(result.median)) \(figure.unit)",
                "\(decimal(result.least)) \(figure.unit)", ratio.map { decimal($0) } ?? "-", index == 0 ? figure.aim : "",
                met.map { $0 ? "yes" : "NO" } ?? "",
            ])
            objects.append(
                """
                {"figure": "\(figure.id)", "program": "\(result.subject)", "unit": "\(figure.unit)", "runs": \(result.runs), \
                "median": \(result.median), "least": \(result.least), "ratioToQEMU": \(ratio.map { "\($0)" } ?? "null"), \
                "met": \(met.map { "\($0)" } ?? "null")}
                """)
        }
    }
    if json {
        print("[\n  \(objects.joined(separator: ",\n  "))\n]")
        for line in skipped { StandardError.write("skipped: \(line)\n") }
    } else {
        printTable(rows)
        for line in skipped { print("skipped: \(line)") }
    }
}

/// Words to the left, numbers (columns 2 to 5) to the right.
private func printTable(_ rows: [[String]]) {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    for row in rows {
        var line = ""
        for (column, text) in row.enumerated() {
            let padding = String(repeating: " ", count: widths[column] - text.count)
            line += (2...5).contains(column) ? "\(padding)\(text)  " : "\(text)\(padding)  "
        }
        while line.last == " " { line.removeLast() }
        print(line)
    }
}

/// Three significant digits or so, without an exponent.
func decimal(_ value: Double) -> String {
    guard value.isFinite, value.magnitude < 1e12 else { return "\(value)" }
    let places = value.magnitude >= 100 ? 0 : value.magnitude >= 10 ? 1 : value.magnitude >= 1 ? 2 : 3
    let scale = [1.0, 10, 100, 1000][places]
    let whole = Int((value * scale).rounded())
    var digits = String(whole.magnitude)
    if places == 0 { return (whole < 0 ? "-" : "") + digits }
    digits = String(repeating: "0", count: max(0, places + 1 - digits.count)) + digits
    var fraction = String(digits.suffix(places))
    while fraction.last == "0" { fraction.removeLast() }
    return (whole < 0 ? "-" : "") + digits.dropLast(places) + (fraction.isEmpty ? "" : "." + fraction)
}
