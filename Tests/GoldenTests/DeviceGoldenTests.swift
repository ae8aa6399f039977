import GuestMemory
import Schema
import TestSupport
import Testing

@testable import VirtualMachine

/// Saved states of every device on every transport in every phase, as the first build with format version 1 wrote them.
@Suite("Golden device states") struct DeviceGoldenTests {
    /// RAM in which the rings of all cases have room. Nobody writes to it.
    private let memory: GuestMemory

    init() throws { memory = try GuestMemory(ranges: [0..<4 << 20]) }

    /// Has a new device take over a state, and tells what it is then.
    private func restore(_ golden: GoldenCase, _ state: JSONValue) throws -> JSONValue {
        let devices = try GoldenMachine(golden, memory: memory).rehearsal.devices
        try devices.sleep()
        try devices.restore(SavedValue([GoldenCase.id: state]))
        guard case .object(let states) = try devices.snapshot(), let own = states[GoldenCase.id] else { return .null }
        return own
    }

    @Test("A device takes its state over and, asked again, gives the same text", arguments: GoldenCase.all)
    func roundTrip(_ golden: GoldenCase) throws {
        let text = try Golden.text(golden.file)
        #expect(JSONText.encode(try restore(golden, try Golden.document(golden.file))) == text)
    }

    /// What is not wrong after all: lists that may be shorter.
    private static func isLegal(_ mutation: Mutation) -> Bool {
        mutation.kind == .shortened && ["device.unicast", "device.multicast"].contains(mutation.blamed)
    }

    @Test("Every field that is removed, retyped, out of range or unknown is refused with its path", arguments: GoldenCase.all)
    func mutations(_ golden: GoldenCase) throws {
        let all = TestSupport.mutations(of: try Golden.document(golden.file))
        #expect(all.count > 80)
        for mutation in all where !Self.isLegal(mutation) {
            let error = #expect(throws: StateError.self, "\(mutation)") { _ = try restore(golden, mutation.document) }
            let place = "devices.\(GoldenCase.id)\(mutation.blamed.isEmpty ? "" : ".")\(mutation.blamed)"
            #expect(error.map { "devices.\($0.path)" } == place, "\(mutation)")
        }
    }

    @Test("Damaged texts are refused or taken, and crash nobody", arguments: GoldenCase.all)
    func damage(_ golden: GoldenCase) throws {
        let text = try Golden.text(golden.file)
        var random = SeededRandom(seed: 1)
        var refused = 0
        for _ in 0..<200 {
            do { _ = try restore(golden, try JSONText.decode(Golden.damaged(text, &random))) } catch { refused += 1 }
        }
        #expect(refused > 100)
    }
}
