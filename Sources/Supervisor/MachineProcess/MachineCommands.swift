import GuestMemory
import Host
import Schema
import VirtualMachine

/// Carries out a supervisor's commands, one after the other.
struct MachineCommands: ~Copyable, Sendable {
    private let server: MachineServer
    private let channel: ServedChannel
    private var pageTables: OwnedDescriptor?
    /// What came for the next request but one.
    private var given = PassedDescriptors()
    private var assembly: MachineAssembly?

    init(_ server: MachineServer, _ channel: ServedChannel, _ pageTables: consuming OwnedDescriptor) {
        self.server = server
        self.channel = channel
        self.pageTables = consume pageTables
    }

    mutating func carryOut(
        _ request: MachineRequest, _ descriptors: inout PassedDescriptors
    ) throws(MachineAssembly.Failure) -> JSONValue? {
        switch request {
        case .take:
            while let next = descriptors.takeFirst() { given.append(next) }
            return true
        case .assemble(let brief):
            let server = server
            let made = try MachineAssembly.make(brief, takeGiven(), state: nil) { server.report($0) }
            server.use(FrontendTable(made.frontends) { server.report($0) })
            assembly = consume made
            return true
        default:
            do throws(VMError) { return try carryOut(request, files: &descriptors) } catch { throw MachineAssembly.Failure(error) }
        }
    }

    private mutating func takeGiven() -> PassedDescriptors {
        var taken = PassedDescriptors()
        while let next = given.takeFirst() { taken.append(next) }
        return taken
    }

    private mutating func carryOut(_ request: MachineRequest, files: inout PassedDescriptors) throws(VMError) -> JSONValue? {
        switch request {
        case .start:
            guard let ready = assembly.take(), let pageTables = pageTables.take() else {
                throw VMError(.failure, "There is nothing to start.")
            }
            let channel = channel
            server.use(try ready.start(pageTables: pageTables) { channel.showProgress() })
            return true
        case .sleep: return .bool(try machine().sleep())
        case .wake: return .bool(try machine().wake())
        case .noteSaved(let identity):
            try machine().noteSaved(as: identity)
            return true
        case .save(let base, let digest):
            guard let memory = files.takeFirst(), let state = files.takeFirst() else {
                throw VMError(.failure, "No files came with the request.")
            }
            var below: SavedBase?
            if let base {
                var layers: [MemoryLayer] = []
                for extents in base.layers {
                    guard let file = given.takeFirst() else { throw VMError(.failure, "A file of the base is missing.") }
                    layers.append(MemoryLayer(file: file, extents: extents))
                }
                below = SavedBase(digest: base.digest, layers: layers)
            }
            return try machine().save(memory: memory, state: state, base: below, digest: digest).json
        default: throw .misplaced
        }
    }

    private func machine() throws(VMError) -> LocalMachine {
        do { return try server.running() } catch { throw error.error }
    }
}
