import Glibc
import Host

/// Another client for the same back-ends: `qemu-img bench` of a QEMU whose block layer has libblkio's driver for vhost-user-blk.
///
/// It asks for a block again and again at a fixed distance from the last one, around the end of the disk: not random, but scattered as widely.
struct Libblkio {
    /// The path of `qemu-img`.
    let program: String

    /// An odd number of requests, so that all blocks of a disk with an even number of them come before one comes again.
    private static let stride = 40503
    private static let patience: Int32 = 120_000

    /// Whether it can ask for this load at all.
    func canRun(_ load: Load) -> Bool { !load.isSequential }

    /// So many requests. The time is the one that the program gives, without its start.
    func run(_ load: Load, on subject: Subject, requests: Int) throws(StorageError) -> Sample {
        let arguments =
            ["qemu-img", "bench", "--image-opts", "-c", "\(requests)", "-d", "\(load.depth)", "-s", "\(load.bytes)", "-S"]
            + ["\(load.bytes * Self.stride)"] + (load.isWrite ? ["-w"] : [])
            + ["driver=virtio-blk-vhost-user,path=\(subject.socket),cache.direct=on"]
        do throws(SystemError) {
            let pipe = try Pipe()
            let nowhere = try OwnedDescriptor.open("/dev/null", flags: O_RDWR)
            let before = try subject.processorTime()
            var child = try ChildProcess(
                path: program, arguments: arguments,
                descriptors: [
                    InheritedDescriptor(nowhere.rawValue, as: 0), InheritedDescriptor(pipe.writer.rawValue, as: 1),
                    InheritedDescriptor(pipe.writer.rawValue, as: 2),
                ])
            let end = try child.wait(timeoutMilliseconds: Self.patience)
            let after = try subject.processorTime()
            try pipe.reader.setNonBlocking()
            let said = String(decoding: (try? pipe.reader.readSome(4096)) ?? [], as: UTF8.self)
            // "Run completed in 0.574 seconds."
            let words = said.split { $0 == " " || $0 == "\n" }
            if end == .exited(0), let index = words.firstIndex(of: "completed"), index + 2 < words.count,
                let seconds = Double(words[index + 2]), seconds > 0
            {
                return Sample(requests: requests, nanoseconds: UInt64(seconds * 1e9), processorNanoseconds: after - before)
            }
            let last = said.split(separator: "\n").last.map(String.init) ?? end.map { "\($0)" } ?? "no end"
            throw SystemError("libblkio: \(last)", .inputOutput)
        } catch {
            throw StorageError("\(subject.name), \(load.name): \(error)")
        }
    }
}
