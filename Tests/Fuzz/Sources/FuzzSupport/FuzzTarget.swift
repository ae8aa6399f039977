import CLibFuzzer
import Glibc
import Host
import Logging
import Synchronization

/// What libFuzzer feeds: it calls `run` with one input after the other, and a trap in it is what it looks for.
public struct FuzzTarget: Sendable {
    private let seeds: @Sendable () -> [[UInt8]]
    private let run: @Sendable ([UInt8]) throws -> Void

    /// libFuzzer takes a C function, which can know of its target in no other way.
    private static let current = Mutex<FuzzTarget?>(nil)

    /// A target. `seeds` are inputs to begin with. What `run` throws is taken for a failure of the host, and ends everything.
    public init(seeds: @escaping @Sendable () -> [[UInt8]], run: @escaping @Sendable ([UInt8]) throws -> Void) {
        (self.seeds, self.run) = (seeds, run)
    }

    /// The whole program: `--seeds DIR` writes the seeds into a directory; anything else are arguments for libFuzzer.
    public func main() -> Never {
        let arguments = CommandLine.arguments
        if arguments.count == 3, arguments[1] == "--seeds" {
            for (index, seed) in seeds().enumerated() { Self.write(seed, to: "\(arguments[2])/seed-\(index)") }
            exit(0)
        }
        // Devices have much to say of hostile drivers.
        LoggingSystem.bootstrap { _ in SwiftLogNoOpLogHandler() }
        // As the programs do that serve devices.
        ignoreBrokenPipes()
        Self.current.withLock { $0 = self }
        var count = CommandLine.argc
        var values: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = unsafe CommandLine.unsafeArgv
        exit(
            unsafe LLVMFuzzerRunDriver(&count, &values) { data, size in
                FuzzTarget.feed(unsafe Array(UnsafeBufferPointer(start: data, count: size)))
                return 0
            })
    }

    private static func feed(_ bytes: [UInt8]) {
        guard let target = current.withLock({ $0 }) else { fatalError("There is nothing to feed.") }
        let before = openDescriptors()
        do { try target.run(bytes) } catch { fatalError("The host failed: \(error)") }
        let after = openDescriptors()
        guard after == before else { fatalError("\(before) descriptors were open before this input, and are \(after) after it.") }
    }

    /// How many descriptors this process has.
    private static func openDescriptors() -> Int {
        guard let directory = unsafe opendir("/proc/self/fd") else { fatalError("There is no /proc.") }
        defer { unsafe closedir(directory) }
        var count = 0
        while unsafe readdir(directory) != nil { count += 1 }
        return count
    }

    private static func write(_ bytes: [UInt8], to path: String) {
        guard let file = unsafe fopen(path, "w") else { fatalError("\(path) cannot be written.") }
        defer { unsafe fclose(file) }
        guard unsafe fwrite(bytes, 1, bytes.count, file) == bytes.count else { fatalError("\(path) cannot be written.") }
    }
}
