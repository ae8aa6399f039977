import Host

/// A TCP connection from a guest that returns every line.
final class NumberStream {
    private let child: ChildProcess
    private let input: ByteStream
    private let output: ByteStream
    private var number = 0

    init(port: Int) throws(SystemError) {
        let toPeer = try Pipe()
        let fromPeer = try Pipe()
        child = try ChildProcess(
            path: findProgram("socat") ?? "/usr/bin/socat", arguments: ["socat", "STDIO", "TCP-LISTEN:\(port),reuseaddr"],
            descriptors: [
                InheritedDescriptor(toPeer.reader.rawValue, as: 0), InheritedDescriptor(fromPeer.writer.rawValue, as: 1),
                InheritedDescriptor(2, as: 2),
            ])
        input = try ByteStream(try toPeer.writer.duplicate())
        output = try ByteStream(try fromPeer.reader.duplicate())
    }

    /// Sends numbers and waits for each to come back; says what went wrong.
    func exchange(_ count: Int, milliseconds: Int64) -> String? {
        let deadline = MonotonicTime.now + milliseconds
        for _ in 0..<count {
            number += 1
            guard input.write("\(number)\n") else { return "the TCP stream takes no more at line \(number)" }
            while true {
                if let line = output.takeLine() {
                    if line == "\(number)" { break }
                    return "the TCP stream gave '\(line)' instead of '\(number)'"
                }
                guard output.isOpen, MonotonicTime.now < deadline else { return "the TCP stream broke at line \(number)" }
                try? ByteStream.wait(for: [output], milliseconds: deadline - MonotonicTime.now)
            }
        }
        return nil
    }
}
