import Testing
import Virtio

@Suite("Counters")
struct CounterTests {
    private final class Block: CounterBlock {
        let apples = Counter()
        let pears = Counter()
        let padding = CounterPadding()
        var values: [String: UInt64] { ["apples": apples.value, "pears": pears.value] }
    }

    @Test("A counter begins at 0 and adds up")
    func adds() {
        let block = Block()
        #expect(block.values == ["apples": 0, "pears": 0])
        for _ in 0..<1000 { block.apples.add() }
        block.pears.add(1 << 63)
        block.pears.add(0)
        block.pears.add(5)
        #expect(block.values == ["apples": 1000, "pears": 0x8000_0000_0000_0005])
    }

    @Test("The blocks of several workers are summed by name")
    func sums() {
        let blocks = [Block(), Block(), Block()]
        for (index, block) in blocks.enumerated() { block.apples.add(UInt64(index + 1)) }
        blocks[2].pears.add(7)
        #expect(blocks.total == ["apples": 6, "pears": 7])
        #expect([Block]().total == [:])
    }
}
