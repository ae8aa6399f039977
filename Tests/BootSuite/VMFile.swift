/// What a test VM looks like; written as `vm.json`.
struct VMFile {
    var name = "test"
    var cpus = 1
    var memory = "512M"
    /// Whether writes to RAM are tracked.
    var tracksWrites = false
    var kernel: String
    var initrd: String?
    var commandLine = ""
    var transport = "pci"
    var serial = "\"null\""
    /// Where devices live; nil: as the default is.
    var isolation: String?
    /// The devices' JSON objects, without their braces.
    var devices: [String] = []
    /// Further members of the document.
    var extra: [String] = []

    init(kernel: String) { self.kernel = kernel }

    /// The document.
    var text: String {
        var boot = "\"kernel\": \(quote(kernel)), \"commandLine\": \(quote(commandLine))"
        if let initrd { boot += ", \"initrd\": \(quote(initrd))" }
        let members = [
            "\"name\": \"\(name)\"", "\"cpus\": { \"count\": \(cpus) }",
            "\"memory\": { \"size\": \"\(memory)\", \"trackWrites\": \(tracksWrites) }", "\"boot\": { \(boot) }",
            "\"transport\": \"\(transport)\"", "\"serial\": { \"backend\": \(serial) }",
            "\"devices\": [\(devices.map { "{ \($0) }" }.joined(separator: ",\n    "))]",
        ]
        let isolation = self.isolation.map { ["\"isolation\": \"\($0)\""] } ?? []
        return "{\n  \((members + isolation + extra).joined(separator: ",\n  "))\n}\n"
    }
}

/// A JSON string; the texts here hold nothing worse than quotes and backslashes.
func quote(_ text: String) -> String {
    var result = "\""
    for character in text {
        if character == "\"" || character == "\\" { result.append("\\") }
        result.append(character)
    }
    return result + "\""
}
