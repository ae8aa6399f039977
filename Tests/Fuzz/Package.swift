// swift-tools-version: 6.2
import PackageDescription

// Apart from the main package, so that nothing there is ever built for a sanitizer. `run` says with which flags this is.

/// As strict as the main package.
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

/// A module of the main package.
func ours(_ name: String) -> Target.Dependency { .product(name: name, package: "swvmm") }

/// A program that feeds one part of ours.
func fuzzer(_ name: String, of imports: [String]) -> Target {
    .executableTarget(name: name, dependencies: ["FuzzSupport"] + imports.map(ours), swiftSettings: strict)
}

let package = Package(
    name: "fuzz",
    dependencies: [
        .package(name: "swvmm", path: "../.."),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // C: libFuzzer has no header of its own.
        .target(name: "CLibFuzzer"),
        .target(
            name: "FuzzSupport",
            dependencies: ["CLibFuzzer", .product(name: "Logging", package: "swift-log")] + ["Virtqueue", "Host", "VhostUser"].map(ours),
            swiftSettings: strict),
        fuzzer("FuzzCodec", of: ["VhostUser"]),
        fuzzer("FuzzBackend", of: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "Devices", "VhostUser"]),
        fuzzer("FuzzFrontend", of: ["Virtqueue", "Host", "GuestMemory", "Schema", "Virtio", "VhostUser"]),
    ]
)
