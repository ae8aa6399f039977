import TestSupport
import Testing
import Virtqueue

@testable import VhostUser

@Suite("Ring base words")
struct RingBaseTests {
    @Test("A split ring's word is its available index; the used index comes from the ring")
    func split() {
        var random = SeededRandom(seed: 1)
        for _ in 0..<2000 {
            let position = QueuePosition(
                available: UInt16(truncatingIfNeeded: random.next()), used: UInt16(truncatingIfNeeded: random.next()))
            let word = position.vhostUserWord(.split)
            #expect(word == UInt32(position.available))
            #expect(QueuePosition(vhostUserWord: word, .split, used: position.used) == position)
        }
    }

    @Test("A packed ring's word has both indices and their wrap counters")
    func packed() {
        var random = SeededRandom(seed: 2)
        for _ in 0..<2000 {
            let position = QueuePosition(
                available: UInt16(random.below(0x8000)), availableWrap: random.oneIn(2), used: UInt16(random.below(0x8000)),
                usedWrap: random.oneIn(2))
            let word = position.vhostUserWord(.packed)
            #expect(QueuePosition(vhostUserWord: word, .packed, used: 0xffff) == position)
        }
    }

    @Test("Every packed word is a position, and the position that word")
    func packedWords() {
        var random = SeededRandom(seed: 3)
        for word in [0, 0x8000, 0x8000_0000, 0x8000_8000, .max] + (0..<2000).map({ _ in UInt32(truncatingIfNeeded: random.next()) }) {
            #expect(QueuePosition(vhostUserWord: word, .packed, used: 0).vhostUserWord(.packed) == word)
        }
    }

    @Test("A fresh ring stands at 0 (split), and at 0 with both wrap counters 1 (packed)")
    func initial() {
        #expect(QueuePosition.initial.vhostUserWord(.split) == 0)
        #expect(QueuePosition.initial.vhostUserWord(.packed) == 0x8000_8000)
    }
}
