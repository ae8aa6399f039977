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
    /// Paths that are removed with the VM.
    let made: (String) -> Void

    func makeConsole(
        _ settings: CharacterBackendSettings, terminal: TerminalStream?, packedRing: Bool
    ) throws(VMError) -> any VirtioDevice {
        var backend: CharacterBackend? = try make(settings, terminal: terminal)
        guard let backend = backend.take() else { throw VMError(.failure, "\(key): no back-end.") }
        let device: ConsoleDevice
        do {
            device = try ConsoleDevice(ConsoleConfiguration(label: id, packedRing: packedRing), backend: backend)
        } catch {
            throw VMError(.resource, "\(key): \(error)")
        }
        if settings == .stdio {
            terminal?.onResize { [weak device] size in
                try? device?.controlNotify(["columns": .integer(Int64(size.columns)), "rows": .integer(Int64(size.rows))])
            }
        }
        return device
    }

    /// The back-end for the settings.
    func make(_ settings: CharacterBackendSettings, terminal: TerminalStream?) throws(VMError) -> CharacterBackend {
        do throws(SystemError) {
            switch settings {
            case .null: return .null
            case .stdio:
                guard let end = terminal?.takeGuestEnd() else { throw SystemError("stdio", .busy) }
                return try .stream(end)
            case .pty:
                let pair = try PseudoTerminal(try OwnedDescriptor.open("/dev/ptmx", flags: O_RDWR | O_NOCTTY))
                notice("\(id) is on \(pair.path).")
                return try .pseudoTerminal(pair)
            case .file(let path):
                return try .file(try OwnedDescriptor.open(path, flags: O_WRONLY | O_CREAT | O_APPEND, mode: 0o600))
            case .socket(let path):
                let listener = try listen(at: path)
                made(path)
                return try .listener(listener)
            }
        } catch {
            throw VMError(.resource, "\(key): \(settings.path ?? settings.name): \(error.errno); expected \(settings.expectation).")
        }
    }

    /// Listens at a path; a socket that nobody listens on any more is taken over.
    private func listen(at path: String) throws(SystemError) -> OwnedDescriptor {
        do throws(SystemError) {
            return try UnixSocket.listen(at: path)
        } catch {
            guard error.errno.rawValue == EADDRINUSE else { throw error }
            do throws(SystemError) {
                _ = try UnixSocket.connect(to: path)
            } catch let stale {
                // So says the kernel of every file that is no socket, too.
                guard stale.errno == .connectionRefused, UnixSocket.exists(at: path) else { throw error }
                removeFile(path)
                return try UnixSocket.listen(at: path)
            }
            throw error
        }
    }
}

extension CharacterBackendSettings {
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
