import TestSupport
import Testing
import Virtqueue

@Suite("vring bases")
struct VringBaseTests {
    @Test("A split ring's word is its available index; the used index comes from the ring")
    func split() {
        var random = SeededRandom(seed: 1)
        for _ in 0..<2000 {
            let position = QueuePosition(
                available: UInt16(truncatingIfNeeded: random.next()), used: UInt16(truncatingIfNeeded: random.next()))
            let word = position.vringBase(.split)
            #expect(word == UInt32(position.available))
            #expect(QueuePosition(vringBase: word, .split, used: position.used) == position)
        }
    }

    @Test("A packed ring's word has both indices and their wrap counters")
    func packed() {
        var random = SeededRandom(seed: 2)
        for _ in 0..<2000 {
            let position = QueuePosition(
                available: UInt16(random.below(0x8000)), availableWrap: random.oneIn(2), used: UInt16(random.below(0x8000)),
                usedWrap: random.oneIn(2))
            let word = position.vringBase(.packed)
            #expect(QueuePosition(vringBase: word, .packed, used: 0xffff) == position)
        }
    }

    @Test("Every packed word is a position, and the position that word")
    func packedWords() {
        var random = SeededRandom(seed: 3)
        for word in [0, 0x8000, 0x8000_0000, 0x8000_8000, .max] + (0..<2000).map({ _ in UInt32(truncatingIfNeeded: random.next()) }) {
            #expect(QueuePosition(vringBase: word, .packed, used: 0).vringBase(.packed) == word)
        }
    }

    @Test("A fresh ring stands at 0 (split), and at 0 with both wrap counters 1 (packed)")
    func initial() {
        #expect(QueuePosition.initial.vringBase(.split) == 0)
        #expect(QueuePosition.initial.vringBase(.packed) == 0x8000_8000)
    }
}
