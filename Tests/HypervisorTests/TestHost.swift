import Glibc
import Host
import Hypervisor
import Testing

/// The machine that the tests run on.
enum TestHost {
    static let needsKVM: Comment = "/dev/kvm cannot be opened here: these tests need it"

    static let hasKVM: Bool = (try? kvm()) != nil

    static func kvm() throws -> KVMSystem { try KVMSystem(descriptor: try OwnedDescriptor.open("/dev/kvm", flags: O_RDWR)) }
}

extension TestHost {
    struct BuildFailed: Error {}

    /// Builds the payloads and says where they are.
    static func payloads() throws -> String {
        let tests = #filePath.split(separator: "/").dropLast(2).map { "/" + $0 }.joined()
        let out = (environmentVariable("TMPDIR") ?? "/tmp") + "/swvmm-test-guests-\(getuid())"
        var build = try ChildProcess(path: tests + "/Guests/build", arguments: ["build", out])
        guard try build.wait(timeoutMilliseconds: 300_000) == .exited(0) else { throw BuildFailed() }
        return out
    }
}
