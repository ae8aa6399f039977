import Host
public import Schema

/// The VMs of this user, as `swvmm list` shows them.
public struct VMList: Sendable {
    /// One VM.
    struct Entry: Sendable, Equatable {
        let name: String
        /// As the VM says; "dead" when it left only its directory, "silent" when it does not answer in time.
        let state: String
        let pid: Int64?
        let info: JSONValue?
    }
    let entries: [Entry]

    /// Asks every VM that has a runtime directory.
    public static func collect() -> VMList { collect(roots: .forThisProcess(), patience: 2000) }

    static func collect(roots: RuntimeRoots, patience: Int64) -> VMList {
        VMList(
            entries: roots.names().compactMap { name in
                guard let found = try? roots.find(name) else { return nil }
                switch found.state {
                case .absent, .forbidden: return nil
                case .dead: return Entry(name: name, state: "dead", pid: nil, info: nil)
                case .running(let pid):
                    guard let info = try? ControlClient(name: name, roots: roots, patience: patience).info(),
                        case .string(let state)? = info.member("state")
                    else { return Entry(name: name, state: "silent", pid: pid, info: nil) }
                    return Entry(name: name, state: state, pid: pid, info: info)
                }
            })
    }

    /// A table with a line for each VM.
    public var text: String { text(now: WallTime.now().seconds) }

    func text(now: Int64) -> String {
        var rows = [["NAME", "STATE", "PID", "CPUS", "MEMORY", "UPTIME"]]
        for entry in entries {
            rows.append([
                entry.name, entry.state, entry.pid.map { "\($0)" } ?? "-", number(entry, "cpus") ?? "-", memory(entry) ?? "-",
                uptime(entry, now) ?? "-",
            ])
        }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            let cells = row.enumerated().map { column, cell in
                column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count)
            }
            return cells.joined(separator: "  ") + "\n"
        }.joined()
    }

    /// The same for programs: what each VM says, or its name and state.
    public var json: JSONValue {
        .array(
            entries.map { entry in
                entry.info ?? ["name": .string(entry.name), "state": .string(entry.state), "pid": entry.pid.map { .integer($0) } ?? .null]
            })
    }

    private func number(_ entry: Entry, _ key: String) -> String? {
        guard case .integer(let value)? = entry.info?.member(key) else { return nil }
        return "\(value)"
    }

    private func memory(_ entry: Entry) -> String? {
        guard case .integer(let value)? = entry.info?.member("memory"), let bytes = UInt64(exactly: value) else { return nil }
        return ByteCount.format(bytes)
    }

    private func uptime(_ entry: Entry, _ now: Int64) -> String? {
        guard case .string(let text)? = entry.info?.member("since"), let since = ControlTime.seconds(text) else { return nil }
        return Self.duration(max(now - since, 0))
    }

    /// The two largest units of a number of seconds: `45s`, `3m12s`, `5h2m`, `12d3h`.
    static func duration(_ seconds: Int64) -> String {
        switch seconds {
        case ..<60: "\(seconds)s"
        case ..<3600: "\(seconds / 60)m\(seconds % 60)s"
        case ..<86_400: "\(seconds / 3600)h\(seconds / 60 % 60)m"
        default: "\(seconds / 86_400)d\(seconds / 3600 % 24)h"
        }
    }
}
