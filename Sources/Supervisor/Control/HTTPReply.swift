/// Reads an HTTP/1.1 response from pieces as they come: as much of the protocol as our own server speaks.
struct HTTPReply {
    /// What stands in the reply's place when it is none.
    struct Malformed: Error {}

    private enum Stage: Equatable {
        case head
        case body(left: Int)
        case chunkSize
        case chunk(left: Int)
        case chunkEnd
        case trailers
        case untilEnd
        case done
    }

    /// The status; nil until the head has come.
    private(set) var status: Int?
    /// What has come of the body and was not taken yet.
    private(set) var body: [UInt8] = []
    private var stage = Stage.head
    private var buffer: [UInt8] = []
    private var position = 0

    /// Bytes of a head or a chunk's line; and of a body that nobody takes.
    private static let lineLimit = 64 << 10
    private static let bodyLimit = 64 << 20

    /// Whether all of the reply has come.
    var isComplete: Bool { stage == .done }

    /// Takes the body's bytes that have come.
    mutating func takeBody() -> [UInt8] {
        defer { body.removeAll() }
        return body
    }

    /// Adds bytes from the connection.
    mutating func feed(_ bytes: [UInt8]) throws(Malformed) {
        buffer.removeFirst(position)
        position = 0
        buffer += bytes
        while try advance() {}
        if body.count > Self.bodyLimit { throw Malformed() }
    }

    /// The connection has ended; a reply of unknown length is complete then.
    mutating func end() throws(Malformed) {
        if stage == .untilEnd { stage = .done }
        if stage != .done { throw Malformed() }
    }

    /// One step; false when more bytes are needed.
    private mutating func advance() throws(Malformed) -> Bool {
        switch stage {
        case .head:
            guard let end = endOfHead() else {
                if buffer.count - position > Self.lineLimit { throw Malformed() }
                return false
            }
            let lines = String(decoding: buffer[position..<end], as: UTF8.self).split(separator: "\r\n")
            position = end
            try readHead(lines)
            return true
        case .body(let left):
            let taken = take(left)
            stage = left == taken ? .done : .body(left: left - taken)
            return stage == .done
        case .chunkSize:
            guard let line = try takeLine() else { return false }
            let digits = line.prefix { $0 != ";" }
            guard digits.count <= 8, let size = Int(digits, radix: 16), size >= 0 else { throw Malformed() }
            stage = size == 0 ? .trailers : .chunk(left: size)
            return true
        case .chunk(let left):
            let taken = take(left)
            stage = left == taken ? .chunkEnd : .chunk(left: left - taken)
            return left == taken
        case .chunkEnd:
            guard let line = try takeLine() else { return false }
            if !line.isEmpty { throw Malformed() }
            stage = .chunkSize
            return true
        case .trailers:
            guard let line = try takeLine() else { return false }
            if line.isEmpty { stage = .done }
            return true
        case .untilEnd:
            _ = take(.max)
            return false
        case .done: return false
        }
    }

    private mutating func readHead(_ lines: [Substring]) throws(Malformed) {
        let words = (lines.first ?? "").split(separator: " ")
        guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let code = Int(words[1]), (100...599).contains(code) else {
            throw Malformed()
        }
        // An interim answer such as 100 Continue: the one that counts follows.
        if code < 200 { return }
        status = code
        stage = .untilEnd
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw Malformed() }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            switch line[..<colon].lowercased() {
            case "content-length":
                guard let length = Int(value), length >= 0 else { throw Malformed() }
                stage = .body(left: length)
            case "transfer-encoding": stage = .chunkSize
            default: break
            }
        }
        if code == 204 { stage = .done }
    }

    /// Moves up to `count` bytes to the body.
    private mutating func take(_ count: Int) -> Int {
        let taken = min(count, buffer.count - position)
        body += buffer[position..<position + taken]
        position += taken
        return taken
    }

    private mutating func takeLine() throws(Malformed) -> String? {
        guard let end = buffer[position...].firstIndex(of: 0x0a) else {
            if buffer.count - position > Self.lineLimit { throw Malformed() }
            return nil
        }
        let line = buffer[position..<end]
        position = end + 1
        return String(decoding: line.last == 0x0d ? line.dropLast() : line, as: UTF8.self)
    }

    /// The index after the empty line that ends the head.
    private func endOfHead() -> Int? {
        var index = position
        while index + 3 < buffer.count {
            if buffer[index] == 0x0d, buffer[index + 1] == 0x0a, buffer[index + 2] == 0x0d, buffer[index + 3] == 0x0a { return index + 4 }
            index += 1
        }
        return nil
    }
}
