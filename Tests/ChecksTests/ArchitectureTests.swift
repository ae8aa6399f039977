import Foundation
import Testing

/// The rules of Docs/architecture.md that a machine can check.
struct ArchitectureTests {
    /// The modules from top to bottom: a module imports only what stands before it.
    static let order = [
        "CAtomics", "CLinux", "CSeccomp", "CCapability", "CURing", "CNettle", "Virtqueue", "Host", "GuestMemory", "Schema", "Virtio",
        "Devices", "VhostUser", "Vhost", "VirtioDriver", "Hypervisor", "Transport", "Machine", "Jail", "Snapshot", "VirtualMachine",
        "Supervisor", "swvmm",
    ]
    /// Modules from elsewhere, and who may use them.
    static let foreign: [String: Set<String>] = [
        "Glibc": ["Host", "GuestMemory", "Hypervisor", "Vhost", "Jail"],
        "ArgumentParser": ["swvmm"],
        "Logging": ["Virtio", "Devices", "VirtualMachine", "Supervisor", "swvmm"],
        "NIOCore": ["Supervisor"],
        "NIOHTTP1": ["Supervisor"],
        "NIOPosix": ["Supervisor"],
        "Synchronization": Set(order),
    ]
    static let mayBeUnsafe: Set<String> = ["Virtqueue", "Host", "GuestMemory", "Hypervisor", "Vhost", "Jail"]

    @Test("arrows point up: a module imports only modules that stand above it")
    func imports() throws {
        let files = SourceTree.swiftFiles(below: "Sources")
        try #require(files.count > 30)
        for (path, text) in files {
            let module = String(path.split(separator: "/")[1])
            let place = try #require(Self.order.firstIndex(of: module), "\(path): unknown module")
            for line in text.split(separator: "\n") {
                let words = SourceTree.code(of: line).split(separator: " ")
                guard let keyword = words.firstIndex(of: "import"), keyword + 1 < words.count,
                    words[..<keyword].allSatisfy({ ["public", "internal", "package", "private", "@_exported"].contains($0) })
                else { continue }
                let imported = String(words[keyword + 1])
                if let allowed = Self.foreign[imported] {
                    #expect(allowed.contains(module), "\(path) imports \(imported)")
                } else if let other = Self.order.firstIndex(of: imported) {
                    #expect(other < place, "\(path) imports \(imported), which stands below \(module)")
                } else {
                    Issue.record("\(path) imports \(imported), which no rule names")
                }
            }
        }
    }

    @Test("the keyword unsafe stands only in the modules that touch raw memory")
    func unsafe() {
        for (path, text) in SourceTree.swiftFiles(below: "Sources") {
            let module = String(path.split(separator: "/")[1])
            guard !Self.mayBeUnsafe.contains(module) else { continue }
            for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
                let words = SourceTree.code(of: line).split { !($0.isLetter || $0.isNumber || $0 == "_" || $0 == "@") }
                #expect(!words.contains { $0 == "unsafe" || $0 == "@unsafe" || $0 == "@safe" }, "\(path):\(number + 1)")
                #expect(!words.contains("@unchecked"), "\(path):\(number + 1): @unchecked Sendable needs unsafe reasoning")
            }
        }
    }

    @Test("nothing that a guest or a file controls can reach a forced unwrap or try!")
    func force() {
        for (path, text) in SourceTree.swiftFiles(below: "Sources") {
            for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
                let code = SourceTree.code(of: line)
                #expect(!code.contains("try!") && !code.contains("as!"), "\(path):\(number + 1)")
            }
        }
    }

    @Test("the sources are formatted: swift format lint --strict is silent")
    func format() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["swift", "format", "lint", "--strict", "--parallel", "--recursive", "Sources", "Tests", "Package.swift"]
        process.currentDirectoryURL = SourceTree.root
        let pipe = Pipe()
        process.standardError = pipe
        process.standardOutput = pipe
        try process.run()
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0, "\(String(decoding: output.prefix(4000), as: UTF8.self))")
    }
}
