import Host
import Testing
import Virtqueue

@testable import Devices

@Suite("Kept output")
struct OutputRingTests {
    private func contents(_ range: HostRange) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: range.count)
        var span = bytes.mutableSpan
        range.copy(to: &span)
        return bytes
    }

    @Test("The newest bytes stay, in order, whatever comes and goes", arguments: [1, 7, 64])
    func model(_ capacity: Int) {
        var ring = OutputRing(capacity: capacity)
        var model: [UInt8] = []
        var random = Random(seed: UInt64(capacity))
        for _ in 0..<5000 {
            if random.oneIn(2) {
                let bytes = random.bytes(random.below(2 * capacity + 2))
                let isLost = ring.append(bytes.span.untyped)
                model += bytes
                #expect(isLost == (model.count > capacity))
                model = Array(model.suffix(capacity))
            } else {
                let front = contents(ring.front)
                #expect(front.isEmpty == model.isEmpty)
                #expect(model.starts(with: front))
                let taken = random.below(front.count + 1)
                ring.removeFirst(taken)
                model.removeFirst(taken)
            }
            #expect(ring.count == model.count)
            #expect(ring.room == capacity - model.count)
        }
    }
}
