import GuestMemory
import Schema
import Snapshot
import TestSupport
import Testing
import Virtio

@testable import VirtualMachine

/// The rest of a snapshot, as the first build with format version 1 wrote it.
@Suite("Golden machine states") struct MachineGoldenTests {
    /// A document, and what reads it and writes it again.
    struct Document: Sendable, CustomStringConvertible {
        let file: String
        let read: @Sendable (SavedValue) throws -> JSONValue
        /// Whether a mutation makes a document that is as good.
        var isLegal: @Sendable (Mutation) -> Bool = { _ in false }
        /// The place that an error must name.
        var blamed: @Sendable (Mutation) -> String = { $0.blamed }

        var description: String { file }

        static let all = [cpu, clock, platform, manifest, changes]

        static let cpu = Document(
            file: "cpu.json", read: { try CPUState(reading: $0).document },
            isLegal: { $0.kind == .shortened && ["cpuid", "msrs", "xcrs"].contains($0.blamed) })

        static let clock = Document(file: "clock.json", read: { try MachineClock($0, cpuCount: 2).json })

        static let platform = Document(
            file: "platform.json",
            read: { saved in
                let platform = try GoldenMachine([]).rehearsal.platform
                try platform.restore(saved)
                return platform.state
            },
            isLegal: { mutation in
                switch mutation.kind {
                case .shortened: ["serial.received", "serial.unwritten"].contains(mutation.blamed)
                // The clock may be behind the host's.
                case .negative: mutation.blamed == "realTimeClock.secondsAheadOfHost"
                default: false
                }
            })

        static let manifest = manifest("snapshot/manifest.json")
        static let changes = manifest("manifest-of-changes.json")

        private static func manifest(_ file: String) -> Document {
            Document(
                file: file, read: { try Manifest($0).json },
                isLegal: { $0.kind == .shortened && $0.blamed == "memory.extents" },
                // An extent is read as a whole.
                blamed: { mutation in
                    guard mutation.blamed.hasPrefix("memory.extents[") else { return mutation.blamed }
                    return String(mutation.blamed.prefix { $0 != "]" }) + "]"
                })
        }
    }

    @Test("A document is taken over and, asked again, gives the same text", arguments: Document.all)
    func roundTrip(_ document: Document) throws {
        let saved = SavedValue(try Golden.document(document.file))
        #expect(JSONText.encode(try document.read(saved)) == (try Golden.text(document.file)))
    }

    /// The document with long lists of alike elements cut down to three.
    private static func thinned(_ document: JSONValue) -> JSONValue {
        guard case .object(var members) = document else { return document }
        for name in ["cpuid", "msrs"] {
            if case .array(let elements)? = members[name] { members[name] = .array(Array(elements.prefix(3))) }
        }
        if case .array(let cpus)? = members["cpus"] { members["cpus"] = .array(cpus.map { thinned($0) }) }
        return .object(members)
    }

    @Test("Every field that is removed, retyped, out of range or unknown is refused with its path", arguments: Document.all)
    func mutations(_ document: Document) throws {
        let all = TestSupport.mutations(of: Self.thinned(try Golden.document(document.file)))
        #expect(all.count > 30)
        for mutation in all where !document.isLegal(mutation) {
            let error = #expect(throws: StateError.self, "\(mutation)") { _ = try document.read(SavedValue(mutation.document)) }
            #expect(error?.path == document.blamed(mutation), "\(mutation)")
        }
    }

    @Test("Damaged texts are refused or taken, and crash nobody", arguments: Document.all)
    func damage(_ document: Document) throws {
        let text = try Golden.text(document.file)
        var random = SeededRandom(seed: 2)
        var refused = 0
        for _ in 0..<100 {
            do { _ = try document.read(SavedValue(JSONText.decode(Golden.damaged(text, &random)))) } catch { refused += 1 }
        }
        #expect(refused > 50)
    }

    // MARK: state.json as a whole

    private static let state = "snapshot/state.json"

    /// Lists that may be shorter, and a clock that may be behind the host's.
    private static func isLegal(_ mutation: Mutation) -> Bool {
        switch mutation.kind {
        case .shortened: mutation.blamed.hasSuffix("].cpuid") || mutation.blamed.hasSuffix("].msrs")
        case .negative: mutation.blamed == "platform.realTimeClock.secondsAheadOfHost"
        default: false
        }
    }

    private static func restore(_ document: JSONValue) throws -> JSONValue {
        let state = try MachineState(SavedValue(document))
        let machine = try GoldenMachine.whole(memory: try GuestMemory(ranges: [0..<Golden.snapshotMemory]))
        try machine.rehearsal.restore(state)
        return MachineState.document(
            clock: state.clock, cpus: state.cpus.map { $0.document }, generation: state.generation,
            platform: machine.rehearsal.platform.state, devices: try machine.rehearsal.devices.snapshot())
    }

    @Test("A whole machine takes its state over and, asked again, gives the same text")
    func wholeRoundTrip() throws {
        #expect(JSONText.encode(try Self.restore(try Golden.document(Self.state))) == (try Golden.text(Self.state)))
    }

    @Test("Every field down to those of platform and devices is refused with its path when it is wrong")
    func wholeMutations() throws {
        var count = 0
        // What lies deeper has been tried above, part by part.
        for mutation in TestSupport.mutations(of: Self.thinned(try Golden.document(Self.state))) where mutation.path.steps.count <= 3 {
            if Self.isLegal(mutation) { continue }
            count += 1
            do {
                _ = try Self.restore(mutation.document)
                Issue.record("\(mutation) was taken")
            } catch {
                // Without the last CPU it is the clock that has one too many.
                let blamed = mutation.kind == .shortened && mutation.path.description == "cpus[1]" ? "clock.cpus" : mutation.blamed
                let path = blamed.isEmpty ? "" : "\(blamed): "
                #expect("\(error)".hasPrefix("\(path)expected "), "\(mutation): \(error)")
            }
        }
        #expect(count > 100)
    }
}

extension GoldenMachine {
    /// The machine of the golden snapshot: each kind of device, half of them on each transport.
    static func whole(memory: GuestMemory) throws -> GoldenMachine {
        let places: [(GoldenCase.Device, String)] = [(.block, "disk"), (.net, "net0"), (.console, "con0"), (.rng, "rng0")]
        return try GoldenMachine(
            try places.enumerated().map { index, place in
                DevicePlan(id: place.1, transport: index % 2 == 0 ? .pci : .mmio, device: try place.0.make(place.1))
            }, memory: memory)
    }
}
