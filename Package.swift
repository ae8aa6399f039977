// swift-tools-version: 6.2
import PackageDescription

/// Every Swift target is built in the same strict way: what one module may do, all may do, except for the keyword `unsafe`, which only
/// the modules named in Docs/architecture.md may use (a test checks it).
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]

/// A module of the product. Arrows point up: `imports` may only name targets that stand above this one in `targets`.
func module(_ name: String, imports: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: imports, swiftSettings: strict)
}

func tests(_ name: String, of imports: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: imports, swiftSettings: strict)
}

let package = Package(
    name: "swvmm",
    products: [
        .executable(name: "swvmm", targets: ["swvmm"]),
        .library(name: "Virtqueue", targets: ["Virtqueue"]),
        // Their types stand in the API of those below.
        .library(name: "Host", targets: ["Host"]),
        .library(name: "GuestMemory", targets: ["GuestMemory"]),
        .library(name: "Schema", targets: ["Schema"]),
        .library(name: "Virtio", targets: ["Virtio"]),
        .library(name: "Devices", targets: ["Devices"]),
        // For Tests/Fuzz.
        .library(name: "VhostUser", targets: ["VhostUser"]),
        .library(name: "VirtioDriver", targets: ["VirtioDriver"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    ],
    targets: [
        .systemLibrary(name: "CSeccomp", providers: [.apt(["libseccomp-dev"])]),
        .systemLibrary(name: "CCapability", providers: [.apt(["libcap-dev"])]),
        // C: what Swift cannot express.
        .target(name: "CAtomics"),
        .target(name: "CLinux"),
        .systemLibrary(name: "CURing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
        .systemLibrary(name: "CNettle", pkgConfig: "nettle", providers: [.apt(["nettle-dev"])]),

        // Rings, the host, guest memory.
        module("Virtqueue", imports: ["CAtomics"]),
        module("Host", imports: ["CAtomics", "CLinux", "CURing", "CNettle", "Virtqueue"]),
        module("GuestMemory", imports: ["CAtomics", "CLinux", "Virtqueue", "Host"]),

        // Virtio.
        module("Schema", imports: []),
        module("Virtio", imports: ["Virtqueue", "Host", "GuestMemory", "Schema", .product(name: "Logging", package: "swift-log")]),
        module("Devices", imports: ["CLinux", "Virtqueue", "Host", "GuestMemory", "Schema", "Virtio"]),
        module("VhostUser", imports: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio"]),
        module("Vhost", imports: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio"]),
        module("VirtioDriver", imports: ["Virtqueue", "Host", "GuestMemory", "Virtio", "VhostUser", "Vhost"]),

        module("Jail", imports: ["CLinux", "CSeccomp", "CCapability", "Host"]),

        // The machine.
        module("Hypervisor", imports: ["CLinux", "Virtqueue", "Host", "GuestMemory"]),
        module("Transport", imports: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Hypervisor"]),
        module("Machine", imports: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Hypervisor", "Transport"]),
        module("Snapshot", imports: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Hypervisor", "Machine"]),
        module(
            "VirtualMachine",
            imports: [
                "Snapshot", "Host", "GuestMemory", "Schema", "Virtio", "Hypervisor", "Transport", "Machine",
                .product(name: "Logging", package: "swift-log"),
            ]),
        module(
            "Supervisor",
            imports: [
                "CLinux", "Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Devices", "VhostUser", "Vhost", "VirtioDriver",
                "Jail", "Hypervisor", "Machine", "Snapshot",
                "VirtualMachine",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ]),
        .executableTarget(
            name: "swvmm",
            dependencies: [
                "Host", "Schema", "Devices", "Snapshot", "VirtualMachine", "Supervisor",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),

        // What several test targets share.
        .target(name: "TestSupport", dependencies: ["Schema"], path: "Tests/Support", swiftSettings: strict),

        // What drivers of the host are held to, over any transport.
        .target(
            name: "DriverSupport", dependencies: ["Virtqueue", "Host", "Virtio", "VirtioDriver", "TestSupport"],
            path: "Tests/DriverSupport",
            swiftSettings: strict),

        // What tries to break out of a jail.
        .target(name: "CProbe", path: "Tests/Jail/CProbe"),
        .executableTarget(name: "JailProbe", dependencies: ["CProbe", "Host", "Jail"], path: "Tests/Jail/Probe", swiftSettings: strict),

        // Tests mirror the targets.
        tests("ChecksTests", of: []),
        tests("HypervisorTests", of: ["Virtqueue", "Host", "GuestMemory", "Hypervisor"]),
        tests("SchemaTests", of: ["Schema", "TestSupport"]),
        tests("HostTests", of: ["Host", "Virtqueue"]),
        tests("GuestMemoryTests", of: ["Virtqueue", "Host", "GuestMemory", "TestSupport"]),
        tests("JailTests", of: ["CProbe", "Host", "Jail", "JailProbe"]),
        tests("VirtioTests", of: ["Virtio"]),
        tests("TransportTests", of: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Hypervisor", "Transport", "TestSupport"]),
        tests(
            "MachineTests",
            of: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Hypervisor", "Transport", "Machine", "TestSupport"]),
        tests("VhostUserTests", of: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Devices", "VhostUser", "TestSupport"]),
        tests("VhostTests", of: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Devices", "Vhost", "TestSupport"]),
        tests(
            "DevicesTests", of: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Devices", "VhostUser", "TestSupport"]),
        tests(
            "VirtioDriverTests",
            of: [
                "Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Devices", "VhostUser", "VirtioDriver", "DriverSupport",
                "TestSupport",
            ]),
        tests(
            "VirtualMachineTests",
            of: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Devices", "Machine", "VirtualMachine"]),
        tests("SnapshotTests", of: ["Virtqueue", "Host", "GuestMemory", "Schema", "Hypervisor", "Snapshot", "TestSupport"]),
        tests(
            "SupervisorTests",
            of: ["Virtqueue", "Host", "GuestMemory", "Schema", "Devices", "Snapshot", "VirtualMachine", "Supervisor", "TestSupport"]),
        tests(
            "GoldenTests",
            of: [
                "Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Devices", "Hypervisor", "Transport", "Machine", "Snapshot",
                "VirtualMachine", "Supervisor", "TestSupport",
            ]),
        tests("VirtqueueTests", of: ["Virtqueue", "CAtomics", "TestSupport"]),

        // Runs the program from outside; `Tests/run` starts it.
        .executableTarget(
            name: "BootSuite",
            dependencies: ["Virtqueue", "Host", "GuestMemory", "Virtio", "VhostUser", "Vhost", "VirtioDriver", "DriverSupport"],
            path: "Tests/BootSuite",
            exclude: ["guest-test.sh", "guest-peers.sh"], swiftSettings: strict),

        // Benchmarks; `make bench` runs them.
        .executableTarget(
            name: "Bench", dependencies: ["Virtqueue", "Host"], path: "Tests/Benchmarks/Bench", swiftSettings: strict),
        .executableTarget(
            name: "RingBenchmark", dependencies: ["Virtqueue", "Host", "GuestMemory", "Virtio"], path: "Tests/Benchmarks/RingBenchmark",
            swiftSettings: strict),
        .executableTarget(
            name: "LayerBenchmark", dependencies: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "VirtioDriver"],
            path: "Tests/Benchmarks/LayerBenchmark", swiftSettings: strict),
        .executableTarget(
            name: "StorageBenchmark", dependencies: ["Virtqueue", "Host", "Virtio", "VirtioDriver"],
            path: "Tests/Benchmarks/StorageBenchmark", swiftSettings: strict),
        .executableTarget(
            name: "SpawnBenchmark", dependencies: ["Virtqueue", "Host", "Schema", "Supervisor"], path: "Tests/Benchmarks/SpawnBenchmark",
            swiftSettings: strict),
    ]
)
