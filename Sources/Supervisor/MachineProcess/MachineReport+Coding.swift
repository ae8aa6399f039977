import GuestMemory
import Schema
import Snapshot
import VirtualMachine

// What a machine's process answers and announces, as it travels.

extension MachineEnd {
    var json: JSONValue {
        switch self {
        case .powerOff: ["end": "powerOff"]
        case .reset: ["end": "reset"]
        case .panic: ["end": "panic"]
        case .tripleFault: ["end": "tripleFault"]
        case .debugExit(let code): ["end": "debugExit", "code": .integer(Int64(code))]
        case .hostCannot(let sentence): ["end": "hostCannot", "sentence": .string(sentence)]
        case .failed(let sentence): ["end": "failed", "sentence": .string(sentence)]
        case .stopped: ["end": "stopped"]
        }
    }

    /// Nil for what is no end.
    init?(_ value: JSONValue) {
        guard case .object(let members) = value, case .string(let name)? = members["end"] else { return nil }
        var sentence = ""
        if case .string(let text)? = members["sentence"] { sentence = text }
        switch name {
        case "powerOff": self = .powerOff
        case "reset": self = .reset
        case "panic": self = .panic
        case "tripleFault": self = .tripleFault
        case "debugExit":
            guard case .integer(let number)? = members["code"], let code = UInt8(exactly: number) else { return nil }
            self = .debugExit(code)
        case "hostCannot": self = .hostCannot(sentence)
        case "failed": self = .failed(sentence)
        case "stopped": self = .stopped
        default: return nil
        }
    }
}

extension SavedImage {
    var json: JSONValue {
        [
            "extents": MemoryExtent.json(image.extents), "digest": image.digest.map { .bytes($0) } ?? .null,
            "cpuVendor": .string(cpuVendor), "cpuFingerprint": .string(cpuFingerprint),
            "usedTracking": .bool(usedTracking),
        ]
    }

    init(_ value: SavedValue) throws(StateError) {
        self = try value.read { (fields) throws(StateError) in
            let extents = try MemoryExtent.list(fields["extents"])
            let digest = try fields.optional("digest") { (value) throws(StateError) in try value.bytes(count: 32...32) }
            return SavedImage(
                image: MemoryImage(extents: extents, digest: digest), cpuVendor: try fields.string("cpuVendor"),
                cpuFingerprint: try fields.string("cpuFingerprint"), usedTracking: try fields.bool("usedTracking"))
        }
    }
}
