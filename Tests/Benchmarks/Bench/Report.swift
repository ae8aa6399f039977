import Host

/// One program's figure.
struct Result {
    let figure: String
    let subject: String
    let runs: Int
    let median: Double
    let least: Double
    let greatest: Double

    /// Reads "samples FIGURE SUBJECT VALUE…" or "summary FIGURE SUBJECT RUNS MEDIAN LEAST".
    init?(_ words: [Substring]) {
        guard words.count > 3 else { return nil }
        figure = String(words[1])
        subject = String(words[2])
        let values = words[3...].compactMap { Double($0) }
        switch words[0] {
        case "samples":
            let sorted = values.sorted()
            guard let first = sorted.first, let last = sorted.last else { return nil }
            runs = sorted.count
            let half = sorted.count / 2
            median = sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
            least = first
            greatest = last
        case "summary":
            guard values.count == 3 else { return nil }
            runs = Int(values[0])
            median = values[1]
            (least, greatest) = (values[2], values[2])
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
    guard !results.isEmpty else { throw BenchError((["nothing was measured"] + skipped).joined(separator: "\nskipped: ")) }
    var rows: [[String]] = [["figure", "program", "runs", "median", "best", "x QEMU", "aim", "met"]]
    var objects: [String] = []
    for figure in Figure.all {
        let own = results.filter { $0.figure == figure.id }
        let peer = own.first { $0.subject == "qemu" }?.median
        for (index, result) in own.enumerated() {
            let ratio = peer.map { result.median / $0 }
            let best = figure.isRate ? result.greatest : result.least
            let met = figure.verdict(result, among: results)
            rows.append([
                index == 0 ? figure.title : "", result.subject, "\(result.runs)", "\(decimal(result.median)) \(figure.unit)",
                "\(decimal(best)) \(figure.unit)", ratio.map { decimal($0) } ?? "-", index == 0 ? figure.aim : "",
                met.map { $0 ? "yes" : "NO" } ?? "",
            ])
            objects.append(
                """
                {"figure": "\(figure.id)", "program": "\(result.subject)", "unit": "\(figure.unit)", "runs": \(result.runs), \
                "median": \(result.median), "best": \(best), "ratioToQEMU": \(ratio.map { "\($0)" } ?? "null"), \
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
