import CLinux
import Devices
import Host
import Schema
import Virtio

/// Opens the host's side of a character stream: of a console, or of the serial port.
struct CharacterPlanner {
    /// The JSON path.
    let key: String
    /// What messages call the stream.
    let id: String
    /// Something that the user must know of, such as a pseudo-terminal's path.
    let notice: (String) -> Void
    /// A socket that is removed with the VM.
    let made: (NamedSocket) -> Void

    /// What the back-end needs.
    func open(_ settings: CharacterBackendSettings, terminal: TerminalStream?) throws(VMError) -> PassedDescriptors {
        var descriptors = PassedDescriptors()
        do throws(SystemError) {
            switch settings {
            case .null: break
            case .stdio:
                guard let end = terminal?.takeGuestEnd() else { throw SystemError("stdio", .busy) }
                descriptors.append(end)
            case .pty:
                let pair = try PseudoTerminal(try OwnedDescriptor.open("/dev/ptmx", flags: O_RDWR | O_NOCTTY))
                notice("\(id) is on \(pair.path).")
                descriptors.append(try pair.controller.duplicate())
                descriptors.append(try pair.terminal.duplicate())
            case .file(let path):
                descriptors.append(try OwnedDescriptor.open(path, flags: O_WRONLY | O_CREAT | O_APPEND, mode: 0o600))
            case .socket(let path):
                let listener = try listenTakingOver(path)
                made(try NamedSocket(path, listener))
                descriptors.append(listener)
            }
            return descriptors
        } catch {
            throw VMError(.resource, "\(key): \(settings.path ?? settings.name): \(error.errno); expected \(settings.expectation).")
        }
    }
}

extension CharacterBackendSettings {
    /// The back-end on what `CharacterPlanner.open` has opened.
    func backend(_ descriptors: inout PassedDescriptors) throws(SystemError) -> CharacterBackend {
        switch self {
        case .null: return .null
        case .stdio: return try .stream(try descriptors.next())
        case .pty: return try .pseudoTerminal(PseudoTerminal(controller: try descriptors.next(), terminal: try descriptors.next()))
        case .file: return try .file(try descriptors.next())
        case .socket: return try .listener(try descriptors.next())
        }
    }

    fileprivate var path: String? {
        switch self {
        case .file(let path), .socket(let path): path
        case .stdio, .pty, .null: nil
        }
    }

    fileprivate var name: String {
        switch self {
        case .stdio: "stdio"
        case .pty: "/dev/ptmx"
        case .file: "file"
        case .socket: "socket"
        case .null: "null"
        }
    }

    fileprivate var expectation: String {
        switch self {
        case .stdio: "a terminal or pipe"
        case .pty: "a pseudo-terminal to be free"
        case .file: "a file that can be written"
        case .socket: "a path of at most 107 bytes where a Unix socket can be made"
        case .null: "nothing"
        }
    }
}
