public import ArgumentParser
import Host
import Schema
public import Supervisor

/// `swvmm blk`.
struct BlkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "blk", abstract: "Look at disks, copy and measure them, through the driver's side of virtio.",
        discussion: """
            A disk is behind a vhost-user back-end of anybody, a vDPA device of the kernel, or in an image, which our own device then \
            serves:

              swvmm blk info --vhost-user disk.sock
              swvmm blk read --file disk.img --offset 1M --length 4K > part
              swvmm blk copy --vhost-user disk.sock --to-file copy.img
              swvmm blk bench --vhost-user disk.sock --depth 32

            Numbers of bytes can end in K, M, G or T.
            """,
        subcommands: [BlkInfoCommand.self, BlkReadCommand.self, BlkWriteCommand.self, BlkCopyCommand.self, BlkBenchCommand.self])
}

/// Which disk.
struct DiskOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The back-end that listens here.", valueName: "path"))
    var vhostUser: String?

    @Option(help: ArgumentHelp("The vDPA device of the kernel that has this node.", valueName: "path"))
    var vhostVdpa: String?

    @Option(help: ArgumentHelp("A raw image or a block device.", valueName: "path"))
    var file: String?

    var reach: DiskReach {
        get throws {
            switch (vhostUser, vhostVdpa, file) {
            case (let path?, nil, nil): .vhostUser(path)
            case (nil, let path?, nil): .vhostVdpa(path)
            case (nil, nil, let path?): .file(path)
            default: throw ValidationError("expected one of --vhost-user PATH, --vhost-vdpa PATH and --file PATH.")
            }
        }
    }
}

/// A number of bytes on the command line.
struct Bytes: ExpressibleByArgument {
    let count: UInt64

    init?(argument: String) {
        guard let count = ByteCount.parse(argument) else { return nil }
        self.count = count
    }

    init(_ count: UInt64) { self.count = count }
    var defaultValueDescription: String { ByteCount.format(count) }
}

/// `swvmm blk info`.
struct BlkInfoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "info", abstract: "Show what a disk says of itself.")

    @OptionGroup var disk: DiskOptions

    @Flag(help: "Print JSON.")
    var json = false

    func run() throws {
        let document = try disk.reach.open(readOnly: true).describe()
        guard !json, case .object(let members) = document else { return print(JSONText.encode(document), terminator: "") }
        for (key, value) in members.sorted(by: { $0.key < $1.key }) {
            let text = if case .string(let text) = value { text } else { JSONText.encode(value, compact: true).filter { $0 != "\n" } }
            print("\(key): \(text)")
        }
    }
}

/// `swvmm blk read`.
struct BlkReadCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "read", abstract: "Print the bytes of a disk.")

    @OptionGroup var disk: DiskOptions

    @Option(help: ArgumentHelp("Where to begin.", valueName: "bytes"))
    var offset = Bytes(0)

    @Option(help: ArgumentHelp("How much; by default up to the end.", valueName: "bytes"))
    var length: Bytes?

    @Option(help: ArgumentHelp("A new file for them; by default standard output.", valueName: "path"))
    var output: String?

    func run() throws {
        let open = try disk.reach.open(readOnly: true)
        let total = length?.count ?? open.capacity - min(offset.count, open.capacity)
        let progress = ProgressLine("reading", total: total)
        let target = try output.map { try DiskFiles.create($0) } ?? DiskFiles.standardOutput()
        try open.read(from: offset.count, length: length?.count, to: target) { progress.show($0) }
        progress.end()
    }
}

/// `swvmm blk write`.
struct BlkWriteCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "write", abstract: "Write bytes to a disk.",
        discussion: "What does not fill a last sector leaves the rest of it as it was.")

    @OptionGroup var disk: DiskOptions

    @Option(help: ArgumentHelp("Where to begin, a multiple of 512.", valueName: "bytes"))
    var offset = Bytes(0)

    @Option(help: ArgumentHelp("The file that has them; by default standard input.", valueName: "path"))
    var input: String?

    func run() throws {
        let open = try disk.reach.open(readOnly: false)
        let progress = ProgressLine("writing", total: nil)
        let source = try input.map { try DiskFiles.open($0) } ?? DiskFiles.standardInput()
        let count = try open.write(at: offset.count, from: source) { progress.show($0) }
        progress.end()
        StandardError.write("\(count) bytes written\n")
    }
}

/// `swvmm blk copy`.
struct BlkCopyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "copy", abstract: "Copy a whole disk to another one.",
        discussion: "--to-file makes a new image. What is zero takes no storage where the target can do without.")

    @OptionGroup var disk: DiskOptions

    @Option(help: ArgumentHelp("Copy to the back-end that listens here.", valueName: "path"))
    var toVhostUser: String?

    @Option(help: ArgumentHelp("Copy to the vDPA device of the kernel that has this node.", valueName: "path"))
    var toVhostVdpa: String?

    @Option(help: ArgumentHelp("Copy to a new image, or to a block device.", valueName: "path"))
    var toFile: String?

    func run() throws {
        let source = try disk.reach.open(readOnly: true)
        let reach: DiskReach
        switch (toVhostUser, toVhostVdpa, toFile) {
        case (let path?, nil, nil): reach = .vhostUser(path)
        case (nil, let path?, nil): reach = .vhostVdpa(path)
        case (nil, nil, let path?):
            try DiskFiles.makeImage(path, size: source.capacity)
            reach = .file(path)
        default: throw ValidationError("expected one of --to-vhost-user PATH, --to-vhost-vdpa PATH and --to-file PATH.")
        }
        let target = try reach.open(readOnly: false)
        let progress = ProgressLine("copying", total: source.capacity)
        let outcome = try DiskCopy(from: source, to: target).run { progress.show($0) }
        progress.end()
        StandardError.write("\(outcome.bytes) bytes copied, \(outcome.zeros) of them zeros\n")
    }
}

extension DiskBench.Load: ExpressibleByArgument {}

/// `swvmm blk bench`.
struct BlkBenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure a disk.", discussion: "Loads that write destroy what is on it, and want --overwrite.")

    @OptionGroup var disk: DiskOptions

    @Option(help: "What to ask for: randread, randwrite, read or write.")
    var load = DiskBench.Load.randread

    @Option(help: ArgumentHelp("Requests at a time, up to 128; several numbers with commas.", valueName: "n,…"))
    var depth = "1,32"

    @Option(
        help: ArgumentHelp(
            "Answers to wait for at a time, as long as so many are under way; by default an eighth of the depth. 1 is the shortest wait.",
            valueName: "n"))
    var batch: Int?

    @Option(help: ArgumentHelp("Bytes of a request, a multiple of 512.", valueName: "bytes"))
    var size = Bytes(4096)

    @Option(help: "How long to measure each.")
    var seconds = 2.0

    @Flag(help: "The data on the disk may be lost.")
    var overwrite = false

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard !load.isWrite || overwrite else { throw ValidationError("\(load.rawValue) destroys what is on the disk; say --overwrite.") }
        guard seconds > 0, seconds <= 3600 else { throw ValidationError("--seconds is more than 0 and at most 3600.") }
        guard size.count > 0, size.count % 512 == 0, size.count <= 64 << 20 else {
            throw ValidationError("--size is a multiple of 512, up to 64M.")
        }
        guard (1...128).contains(batch ?? 1) else { throw ValidationError("--batch is 1 to 128.") }
        guard !(try depths).isEmpty else { throw ValidationError("--depth needs a number.") }
    }

    private var depths: [Int] {
        get throws {
            try depth.split(separator: ",").map { text in
                guard let depth = Int(text), (1...128).contains(depth) else { throw ValidationError("--depth is 1 to 128.") }
                return depth
            }
        }
    }

    func run() throws {
        var rows: [JSONValue] = []
        for depth in try depths {
            // A driver for each: a queue has one user.
            let open = try disk.reach.open(readOnly: !load.isWrite, queueSize: 256)
            let bench = DiskBench(load: load, depth: depth, size: Int(size.count), batch: batch)
            let result = try bench.run(on: open, milliseconds: UInt64(seconds * 1000))
            let megabytes = result.rate * Double(size.count) / 1e6
            rows.append([
                "load": .string(load.rawValue), "depth": .integer(Int64(depth)), "bytes": .integer(Int64(size.count)),
                "batch": .integer(Int64(bench.batch)),
                "requests": .integer(Int64(clamping: result.requests)), "nanoseconds": .integer(Int64(clamping: result.nanoseconds)),
                "median": .integer(Int64(clamping: result.median)), "percentile99": .integer(Int64(clamping: result.percentile99)),
            ])
            if !json {
                print(
                    "\(load.rawValue) \(ByteCount.format(size.count)) depth \(depth): \(Int(result.rate)) requests/s, \(Int(megabytes)) MB/s, "
                        + "median \(Self.microseconds(result.median)) us, 99 % \(Self.microseconds(result.percentile99)) us")
            }
        }
        if json { print(JSONText.encode(.array(rows)), terminator: "") }
    }

    private static func microseconds(_ nanoseconds: UInt64) -> String { "\(nanoseconds / 1000).\(nanoseconds / 100 % 10)" }
}
