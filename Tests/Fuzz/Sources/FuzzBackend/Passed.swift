import FuzzSupport
import Host

/// What can come along with a message.
enum Passed: UInt8, CaseIterable {
    case ram, event, doorbell, socket, small, reader, writer

    /// The one that a byte names.
    static func of(_ byte: UInt8) -> Passed { allCases[Int(byte) % allCases.count] }

    /// A descriptor. What nobody can end any more is ended: a peer that keeps quiet would only cost time.
    func make(_ ram: borrowing OwnedDescriptor, _ doorbell: EventFD, _ script: inout Script) throws -> OwnedDescriptor {
        switch self {
        case .ram: return try ram.duplicate()
        case .event: return try EventFD().descriptor.duplicate()
        case .doorbell: return try doorbell.descriptor.duplicate()
        case .socket: return try SocketPair().first.duplicate()
        case .small: return try makeMemoryFile(name: "small", size: 100)
        case .reader:
            let pipe = try Pipe()
            try pipe.writer.writeAll(script.take(Int(script.byte())))
            return try pipe.reader.duplicate()
        case .writer: return try Pipe().writer.duplicate()
        }
    }
}
