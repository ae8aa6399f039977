import Devices
import Host
import Schema

// Changes to the configuration of a snapshot before it is restored, and before it is saved.

extension RestoreRequest {
    /// The document of a VM that is to be restored, with the request's name and host sides in it.
    func apply(to document: JSONValue) throws(VMError) -> JSONValue {
        guard case .object(var members) = document else { return document }
        if let name { members["name"] = .string(name) }
        if let isolation { members["isolation"] = .string(isolation.rawValue) }
        var devices: [JSONValue] = []
        if case .array(let elements)? = members["devices"] { devices = elements }
        for override in overrides {
            if override.kind == .console, override.id == "serial" {
                members["serial"] = .object(["backend": Self.characterBackend(override.value)])
                continue
            }
            guard let index = devices.firstIndex(where: { $0.string("id") == override.id }), case .object(var device) = devices[index]
            else {
                let ids = devices.compactMap { $0.string("id") }.map { "\"\($0)\"" }.joined(separator: ", ")
                throw VMError(.usage, "--\(override.kind.rawValue) \(override.id)=…: expected the id of a device, one of \(ids).")
            }
            let type = device["type"].flatMap { $0.text } ?? ""
            switch (override.kind, type) {
            case (.disk, "block"):
                device["path"] = .string(AbsolutePath.of(override.value))
                device["backend"] = nil
            case (.net, "net"): device["backend"] = Self.networkBackend(override.value)
            case (.console, "console"): device["backend"] = Self.characterBackend(override.value)
            default:
                throw VMError(
                    .usage,
                    "--\(override.kind.rawValue) \(override.id)=…: expected a device of that kind; \"\(override.id)\" is of type \(type).")
            }
            devices[index] = .object(device)
        }
        members["devices"] = .array(devices)
        return .object(members)
    }

    /// `user`, `fd:N`, `stream:PATH`, or the name of a tap.
    private static func networkBackend(_ value: String) -> JSONValue {
        if value == "user" { return "user" }
        if value.hasPrefix("fd:"), let number = Int64(value.dropFirst(3)) { return ["fd": .integer(number)] }
        if value.hasPrefix("stream:") { return ["stream": .string(AbsolutePath.of(String(value.dropFirst(7))))] }
        return ["tap": .string(value)]
    }

    /// `stdio`, `pty`, `null`, `file:PATH` or `socket:PATH`.
    private static func characterBackend(_ value: String) -> JSONValue {
        for kind in ["file", "socket"] where value.hasPrefix("\(kind):") {
            return .object([kind: .string(AbsolutePath.of(String(value.dropFirst(kind.utf8.count + 1))))])
        }
        return .string(value)
    }
}

extension VMConfiguration {
    /// The document with everything in it that would otherwise be made from the VM's name, which may change at a restore.
    func pinned(_ document: JSONValue) -> JSONValue {
        guard case .object(var members) = document, case .array(var elements)? = members["devices"] else { return document }
        for (index, settings) in devices.enumerated() where elements.indices.contains(index) {
            // A vDPA device has an address of its own, and no other can be set beside it.
            guard case .network(let network) = settings.kind, network.mac == nil, settings.vhostVdpaPath == nil,
                case .object(var device) = elements[index]
            else { continue }
            device["mac"] = .string("\(MACAddress(derivedFrom: "\(name)/\(settings.id)"))")
            elements[index] = .object(device)
        }
        members["devices"] = .array(elements)
        return .object(members)
    }
}

extension JSONValue {
    /// The text of a string.
    fileprivate var text: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    /// A member that is a string.
    fileprivate func string(_ key: String) -> String? {
        guard case .object(let members) = self else { return nil }
        return members[key]?.text
    }
}
