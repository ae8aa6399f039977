import Foundation
import Host
import Testing

@testable import Supervisor

@Suite("What is made for a VM is cleared away")
struct ClearingAwayTests {
    private let root = TemporaryRoot()
    private let path: String

    init() throws {
        try FileManager.default.createDirectory(atPath: root.path, withIntermediateDirectories: true)
        path = "\(root.path)/s"
    }

    /// A plan for a VM with a console on a socket, and then a disk.
    private func plan(disk: String) throws -> Planner.Plan {
        let text = """
            {"name": "plan", "isolation": "none", "boot": {"kernel": "/dev/null"}, "serial": {"backend": "null"}, "devices": [
                {"id": "console", "type": "console", "backend": {"socket": "\(path)"}},
                {"id": "disk", "type": "block", "path": "\(disk)"}
            ]}
            """
        let file = try ConfigFile(bytes: Array(text.utf8), path: "vm.json", directory: "/")
        let planner = Planner(
            file.configuration, document: file.resolved, file: "vm.json", origin: .kernel, log: LogSettings(level: .notice, format: .text))
        return try planner.plan(kvm: try OwnedDescriptor.open("/dev/null", flags: O_RDWR), asleep: false)
    }

    @Test("A socket does not outlive the plan that another device has kept from being made")
    func failedPlan() throws {
        do {
            _ = try plan(disk: "\(root.path)/nowhere")
            Issue.record("There is a plan.")
        } catch let error as VMError {
            #expect(error.message.contains("devices[1].path"))
        }
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test("A socket goes with the VM, and may have been made anew by another meanwhile")
    func finishedPlan() throws {
        #expect(FileManager.default.createFile(atPath: "\(root.path)/disk", contents: Data(count: 4096)))
        let resources: VMResources
        do { resources = try plan(disk: "\(root.path)/disk").resources }
        // Whoever served it has gone, which does not show before the name has gone.
        _ = try UnixSocket.connectWithoutWaiting(to: path)
        resources.finish()
        #expect(!FileManager.default.fileExists(atPath: path))
        let successor = try UnixSocket.listen(at: path)
        resources.finish()
        _ = try UnixSocket.connectWithoutWaiting(to: path)
        #expect(successor.rawValue >= 0)
    }
}
