import GuestMemory
import Host
import Schema
import Snapshot
import Testing
import VirtualMachine

@testable import Supervisor

@Suite("Requests to a machine's process")
struct MachineRequestTests {
    private static let document: JSONValue = ["boot": ["kernel": "/k", "initrd": "/i"], "devices": [["id": "r", "type": "rng"]]]

    private static func brief(_ origin: MachineBrief.Origin) throws -> MachineBrief {
        let file = try ConfigFile(document: document, path: "vm.json")
        return MachineBrief(
            configuration: file.configuration, document: file.resolved, file: "vm.json", origin: origin, startsAsleep: true,
            generation: Array(0..<16), deviceDescriptors: [1])
    }

    private static func snapshot(state: Manifest.File?) -> MachineBrief.Origin {
        .snapshot(
            SnapshotBrief(
                path: "/s", identity: "abc", layers: [[MemoryExtent(firstPage: 1, pageCount: 2)], []], state: state, isPopulated: true,
                clockPolicy: .realtime))
    }

    @Test("Every request is read as it was written")
    func roundTrip() throws {
        let layers = [[MemoryExtent(firstPage: 0, pageCount: 1), MemoryExtent(firstPage: 5, pageCount: 7)], []]
        let requests: [MachineRequest] = [
            .take, .start, .sleep, .wake, .save(base: nil, digest: true),
            .save(base: MachineRequest.Base(digest: "d", layers: layers), digest: false), .noteSaved("x"), .recover("a", turn: 1),
            .handOver("b", turn: 2),
            .giveUp("c"), .report, .generation, .stop, .pressPowerButton, .resizeConsole(WindowSize(columns: 80, rows: 65535)),
            .assemble(try Self.brief(.kernel(hasInitrd: true, entropy: [1, 2, 3]))), .assemble(try Self.brief(Self.snapshot(state: nil))),
            .assemble(try Self.brief(Self.snapshot(state: Manifest.File(size: .max, sha256: "0f")))),
        ]
        for request in requests {
            let text = JSONText.encode(request.json, compact: true)
            let read = try MachineRequest(try JSONText.decode(Array(text.utf8)))
            #expect(JSONText.encode(read.json, compact: true) == text)
        }
        guard case .assemble(let brief) = try MachineRequest(requests[15].json) else { throw StateError(path: "", expectation: "a brief") }
        #expect(brief.origin == .kernel(hasInitrd: true, entropy: [1, 2, 3]))
        #expect(brief.configuration == (try Self.brief(.kernel(hasInitrd: true, entropy: []))).configuration)
    }

    @Test(
        "What is no request is refused, and the sentence names the place",
        arguments: [
            (#"{"request":"sing","content":null}"#, "request: expected one of"), (#"{"request":"sleep"}"#, ""),
            (#"{"request":"recover","content":1}"#, "content: expected an object"), (#"[]"#, "expected an object"),
            (
                #"{"request":"save","content":{"base":{"digest":"d","layers":[[1]]},"digest":true}}"#,
                "content.base.layers[0]: expected pairs"
            ),
            (#"{"request":"save","content":{"base":null}}"#, "content.digest: expected"),
            (#"{"request":"resizeConsole","content":{"columns":65536,"rows":1}}"#, "content.columns: expected"),
            (#"{"request":"assemble","content":{"document":{}}}"#, "content.document: expected a configuration"),
        ])
    func refusals(_ text: String, _ expected: String) throws {
        let message = try JSONText.decode(Array(text.utf8))
        do {
            let request = try MachineRequest(message)
            // A request without content needs none.
            #expect(expected.isEmpty, "\(request)")
        } catch {
            #expect(!expected.isEmpty && error.description.hasPrefix(expected), "\(error)")
        }
    }

    @Test(
        "Every end is read as it was written",
        arguments: [
            MachineEnd.powerOff, .reset, .panic, .tripleFault, .debugExit(255), .hostCannot("It cannot."), .failed("It has."), .stopped,
        ])
    func ends(_ end: MachineEnd) { #expect(MachineEnd(end.json) == end) }

    @Test("What is no end is none", arguments: [JSONValue.null, [:], ["end": "nigh"], ["end": "debugExit", "code": 256]])
    func noEnds(_ value: JSONValue) { #expect(MachineEnd(value) == nil) }

    @Test("What was saved is read as it was written")
    func saved() throws {
        for digest in [nil, [UInt8](repeating: 7, count: 32)] {
            let image = MemoryImage(extents: [MemoryExtent(firstPage: 3, pageCount: 1)], digest: digest)
            let saved = SavedImage(image: image, cpuVendor: "GenuineIntel", cpuFingerprint: "00", usedTracking: digest != nil)
            #expect(try SavedImage(SavedValue(saved.json)) == saved)
        }
    }
}
