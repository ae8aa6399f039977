public import Schema

/// One thing that this host can or cannot do.
public struct Finding: Sendable, Equatable {
    /// What a missing ability costs.
    public enum Need: String, Sendable {
        /// No guest runs without it.
        case required
        /// A Linux guest needs it; small payloads run without it.
        case linux
        /// Some devices or settings need it.
        case optional
    }
    /// A short name, stable for scripts.
    public let name: String
    /// Whether the host can.
    public let isPresent: Bool
    /// What was found.
    public let detail: String
    /// What to do about it when it is missing.
    public let remedy: String?
    /// What its absence costs.
    public let need: Need
}

/// Everything that `swvmm doctor` found.
public struct Findings: Sendable, Equatable {
    /// In the order in which they are printed.
    public let all: [Finding]

    /// Whether any guest can run here.
    public var canRun: Bool { all.allSatisfy { $0.isPresent || $0.need != .required } }
    /// Whether a Linux guest can run here.
    public var canRunLinux: Bool { all.allSatisfy { $0.isPresent || $0.need == .optional } }

    /// One line per finding, and a line that sums up.
    public var text: String {
        let width = all.map(\.name.count).max() ?? 0
        var lines = all.map { finding in
            let name = finding.name + String(repeating: " ", count: width - finding.name.count)
            let line = "\(finding.isPresent ? "yes" : "no ")  \(name)  \(finding.detail)"
            guard !finding.isPresent, let remedy = finding.remedy else { return line }
            return line + "\n     " + String(repeating: " ", count: width) + "remedy: \(remedy)"
        }
        lines.append(
            canRunLinux
                ? "This host can run Linux guests."
                : canRun ? "This host can run small payloads, but no Linux guest." : "This host cannot run guests.")
        return lines.joined(separator: "\n") + "\n"
    }

    /// The same for programs.
    public var json: JSONValue {
        .object([
            "canRun": .bool(canRun), "canRunLinux": .bool(canRunLinux),
            "findings": .array(
                all.map { finding in
                    .object([
                        "name": .string(finding.name), "present": .bool(finding.isPresent), "detail": .string(finding.detail),
                        "remedy": finding.remedy.map { .string($0) } ?? .null, "need": .string(finding.need.rawValue),
                    ])
                }),
        ])
    }
}
