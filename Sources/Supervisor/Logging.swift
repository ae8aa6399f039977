import Host
import Logging

/// How much is logged.
public enum LogLevel: String, Sendable, CaseIterable {
    /// Everything.
    case trace
    /// What developers look for.
    case debug
    /// What happens.
    case info
    /// What a user should see in normal use.
    case notice
    /// What may need attention.
    case warning
    /// What failed.
    case error

    var level: Logger.Level {
        switch self {
        case .trace: .trace
        case .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        }
    }
}

/// How log lines look.
public enum LogFormat: String, Sendable, CaseIterable {
    /// `swvmm: message`.
    case text
    /// One JSON object per line.
    case json
}

/// What the command line says about logging.
public struct LogSettings: Sendable {
    let level: LogLevel
    let format: LogFormat

    /// Settings.
    public init(level: LogLevel, format: LogFormat) {
        self.level = level
        self.format = format
    }

    /// A handler that writes to standard error. What devices complain of, under a label that ends with their id, is also passed to `complaint`.
    func makeHandler(
        label: String, complaint: (@Sendable (_ id: String, _ message: String) -> Void)? = nil
    ) -> any LogHandler {
        StandardErrorLog(label: label, level: level.level, format: format, complaint: complaint)
    }
}

/// Writes one line per message to standard error, in one write, so that lines of several threads do not mix.
private struct StandardErrorLog: LogHandler {
    let label: String
    let format: LogFormat
    let complaint: (@Sendable (String, String) -> Void)?
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]

    init(label: String, level: Logger.Level, format: LogFormat, complaint: (@Sendable (String, String) -> Void)?) {
        self.label = label
        self.complaint = complaint
        self.format = format
        logLevel = level
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let prefix = "swvmm."
        if event.level >= .warning, label.hasPrefix(prefix) {
            complaint?(String(label.dropFirst(prefix.utf8.count)), "\(event.message)")
        }
        switch format {
        case .text: StandardError.write("swvmm: \(event.message)\n")
        case .json:
            let line: [String: String] = ["level": event.level.rawValue, "label": label, "message": "\(event.message)"]
            let members = line.keys.sorted().map { "\(quoted($0)):\(quoted(line[$0] ?? ""))" }
            StandardError.write("{\(members.joined(separator: ","))}\n")
        }
    }

    private func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case _ where scalar.value < 0x20: result += " "
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
