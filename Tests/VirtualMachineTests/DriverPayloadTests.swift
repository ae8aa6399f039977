import Devices
import Glibc
import Host
import Machine
import Synchronization
import Testing
import Virtio
import VirtualMachine
import Virtqueue

/// Our driver's side in a bare-metal guest, our devices on the host's: everything between them in one process. The group `driver` of BootSuite
/// has the devices that need a peer.
@Suite("A guest that drives devices", .serialized, .enabled(if: PayloadHost.hasKVM, PayloadHost.needsKVM))
struct DriverPayloadTests {
    struct Combination: Sendable, CustomTestStringConvertible {
        var transport: TransportKind
        var features: RingFeatures

        var testDescription: String {
            let names = [(features.indirect, "indirect"), (features.eventIndex, "event index")].filter(\.0).map(\.1)
            return "\(transport.rawValue), \(features.format)" + names.map { ", \($0)" }.joined()
        }

        static let all: [Combination] = TransportKind.allCases.flatMap { transport in
            [RingFormat.split, .packed].flatMap { format in
                (0..<4).map { bits in
                    let features = RingFeatures(format: format, indirect: bits & 1 != 0, eventIndex: bits & 2 != 0)
                    return Combination(transport: transport, features: features)
                }
            }
        }
    }

    /// Bytes that follow from sector and offset, as the payload knows them: those of seed 1 are what it writes.
    private static func sector(_ number: Int, seed: Int) -> [UInt8] {
        (0..<512).map { UInt8(truncatingIfNeeded: $0 * 7 + number * 31 + seed * 101) }
    }

    @Test("Each check of the payload passes, on each transport and with each combination of ring features", arguments: Combination.all)
    func payload(_ combination: Combination) throws {
        let (features, transport) = (combination.features, combination.transport)
        let image = try makeMemoryFile(name: "driver-disk", size: 0)
        try Self.fill(image)
        let devices = try Self.devices(image, isPacked: features.format == .packed).map {
            DevicePlan(id: $0.debugLabel, transport: transport, device: $0)
        }
        let words = [
            ("packed", features.format == .packed), ("indirect", features.indirect), ("event", features.eventIndex), ("quiet", true),
        ]
        let output = SerialText()
        let machine = try Self.start(devices, commandLine: words.map { "\($0)=\($1 ? 1 : 0)" }.joined(separator: " "), output)
        // Long: every other test may want the same processors.
        _ = machine.endEvent.waitWithoutDraining(milliseconds: 300_000)
        let end = machine.stop()
        #expect(end == .debugExit(0), "\(output.text)")
        #expect(output.text.hasSuffix("\n13 passed, 0 failed\n"), "\(output.text)")
        let expected = (0..<64).flatMap { Self.sector($0, seed: (16..<20).contains($0) ? 1 : 0) }
        #expect(try readWholeFile("/proc/self/fd/\(image.rawValue)", limit: 1 << 20) == expected)
    }
}

extension DriverPayloadTests {
    private static func fill(_ image: borrowing OwnedDescriptor) throws {
        let bytes = (0..<64).flatMap { sector($0, seed: 0) }
        _ = try image.write(bytes.span.untyped)
    }

    private static func devices(_ image: borrowing OwnedDescriptor, isPacked: Bool) throws -> [any VirtioDevice] {
        var disk = BlockConfiguration(image: try image.duplicate(), label: "driver-disk")
        disk.serial = "driver-disk"
        disk.packedRing = isPacked
        var source = EntropyConfiguration(label: "entropy")
        source.packedRing = isPacked
        return [try BlockDevice(disk), try EntropyDevice(source)]
    }

    private static func start(_ devices: [DevicePlan], commandLine: String, _ output: SerialText) throws -> VirtualMachine {
        let kernel = try OwnedDescriptor.open(try PayloadHost.payloads() + "/driver", flags: O_RDONLY)
        let kvm = try OwnedDescriptor.open("/dev/kvm", flags: O_RDWR)
        let boot = BootPlan(kernel: kernel, initrd: nil, commandLine: commandLine, entropy: [])
        let plan = MachinePlan(
            name: "driver", kvm: kvm, cpuCount: 1, cpuMask: [], memorySize: 128 << 20, origin: .boot(boot), startsAsleep: false,
            generation: [UInt8](repeating: 1, count: 16), sharesMemory: false, tracksWrites: false, serialOutput: output, debugExit: true,
            devices: devices)
        return try VirtualMachine.start(plan)
    }
}

/// What the guest has printed.
private final class SerialText: SerialOutput {
    private let bytes = Mutex<[UInt8]>([])

    func writeSerial(_ more: Span<UInt8>) -> Int {
        bytes.withLock { bytes in
            for index in more.indices { bytes.append(more[index]) }
        }
        return more.count
    }

    var text: String { bytes.withLock { String(decoding: $0, as: UTF8.self) } }
}

/// The machine that the tests run on.
enum PayloadHost {
    struct BuildFailed: Error {}

    static let needsKVM: Comment = "/dev/kvm cannot be opened here: these tests need it"
    static let hasKVM: Bool = (try? OwnedDescriptor.open("/dev/kvm", flags: O_RDWR)) != nil

    private static let built: Result<String, any Error> = Result { try build() }

    /// Builds the payloads, once, and says where they are.
    static func payloads() throws -> String { try built.get() }

    private static func build() throws -> String {
        let tests = #filePath.split(separator: "/").dropLast(2).map { "/" + $0 }.joined()
        let out = (environmentVariable("TMPDIR") ?? "/tmp") + "/swvmm-test-guests-\(getuid())"
        var build = try ChildProcess(path: tests + "/Guests/build", arguments: ["build", out])
        guard try build.wait(timeoutMilliseconds: 300_000) == .exited(0) else { throw BuildFailed() }
        return out
    }
}
