public import Schema

/// Everything that a running VM tells about itself, as `swvmm info` shows it.
public struct VMReport: Sendable {
    private let info: JSONValue
    private let configuration: JSONValue
    private let devices: JSONValue

    /// Asks the VM with this name.
    public static func collect(name: String) throws(VMError) -> VMReport { try VMReport(ControlClient(name: name)) }

    init(_ client: ControlClient) throws(VMError) {
        info = try client.info()
        configuration = try client.get("/v1/vm/config")
        devices = try client.get("/v1/devices").member("devices") ?? []
    }

    /// For programs: what `/v1/vm`, `/v1/vm/config` and `/v1/devices` say.
    public var json: JSONValue { ["vm": info, "config": configuration, "devices": devices] }

    /// For people: the VM, then a line for each device.
    public var text: String {
        var lines: [(String, String)] = []
        if case .object(let members) = info {
            let first = ["name", "state", "pid", "version", "cpus", "memory", "since"]
            for key in first + members.keys.sorted().filter({ !first.contains($0) }) {
                if let value = members[key] { lines.append((key, key == "memory" ? size(value) : plain(value))) }
            }
        }
        if case .array(let all) = devices {
            for device in all {
                let facts = ["type", "transport", "lifecycle"].compactMap { key in device.member(key).map { plain($0) } }
                lines.append(("device", ([device.member("id").map { plain($0) } ?? "?"] + facts).joined(separator: "  ")))
            }
        }
        let width = lines.map(\.0.count).max() ?? 0
        return lines.map { $0.0 + String(repeating: " ", count: width - $0.0.count) + "  " + $0.1 + "\n" }.joined()
    }

    private func plain(_ value: JSONValue) -> String {
        switch value {
        case .string(let text): text
        case .array, .object: String(ControlText.line(value).dropLast())
        default: value.spoken
        }
    }

    private func size(_ value: JSONValue) -> String {
        guard case .integer(let number) = value, let bytes = UInt64(exactly: number) else { return plain(value) }
        return ByteCount.format(bytes)
    }
}
