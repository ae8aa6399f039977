import Foundation
import Testing

/// The code in the device author's guide is the code that the conformance suite runs.
@Suite("Device author's guide")
struct GuideTests {
    private static let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()

    @Test("the guide shows the device that the tests compile and drive, in less than 100 lines")
    func code() throws {
        let guide = try String(contentsOf: Self.here.appendingPathComponent("../../Docs/device-guide.md"), encoding: .utf8)
        let code = try String(contentsOf: Self.here.appendingPathComponent("Support/MemoryDisk.swift"), encoding: .utf8)
        let blocks = guide.components(separatedBy: "```swift\n").dropFirst().compactMap { $0.components(separatedBy: "```").first }
        #expect(blocks.first == code, "copy Tests/VirtioDriverTests/Support/MemoryDisk.swift into Docs/device-guide.md")
        #expect(code.split(separator: "\n", omittingEmptySubsequences: false).count < 100)
    }
}
