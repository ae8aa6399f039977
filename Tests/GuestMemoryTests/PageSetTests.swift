import TestSupport
import Testing

@testable import GuestMemory

typealias Random = SeededRandom

func extents(_ pairs: [(Int, Int)]) -> [MemoryExtent] { pairs.map { MemoryExtent(firstPage: $0.0, pageCount: $0.1) } }

@Suite("Sets of pages, and plans of layers")
struct PageSetTests {
    @Test("A set of pages agrees with a set of numbers, whatever is put in", arguments: [1, 63, 64, 65, 128, 1000])
    func model(pageCount: Int) {
        var random = Random(seed: UInt64(pageCount))
        for _ in 0..<50 {
            var set = PageSet(pageCount: pageCount)
            var model: Set<Int> = []
            for _ in 0..<random.below(8) {
                let first = random.below(pageCount + 10)
                switch random.below(3) {
                case 0:
                    let count = random.below(150)
                    set.insert(MemoryExtent(firstPage: first, pageCount: count))
                    model.formUnion(first..<first + count)
                case 1:
                    let words = (0..<random.below(5)).map { _ in random.next() & random.next() }
                    set.insert(bitmap: words, at: first)
                    for bit in 0..<64 * words.count where words[bit / 64] >> UInt64(bit % 64) & 1 == 1 { model.insert(first + bit) }
                default:
                    var other = PageSet(pageCount: pageCount + 70)
                    other.insert(MemoryExtent(firstPage: first, pageCount: 100))
                    set.formUnion(other)
                    model.formUnion(first..<min(first + 100, pageCount + 70))
                }
                model = model.filter { $0 < pageCount }
                #expect((0..<pageCount).filter { set.contains($0) } == model.sorted())
                #expect(set.count == model.count && set.isEmpty == model.isEmpty)
                let runs = set.runs
                #expect(runs.flatMap { Array($0.firstPage..<$0.endPage) } == model.sorted())
                #expect(MemoryExtent.areValid(runs, pageCount: pageCount))
                #expect(zip(runs, runs.dropFirst()).allSatisfy { $0.endPage < $1.firstPage }, "runs are as long as they can be")
                #expect(PageSet(runs, pageCount: pageCount) == set)
            }
        }
        #expect(PageSet(pageCount: pageCount).run(from: -1) == nil && PageSet(pageCount: pageCount).run(from: .max) == nil)
        #expect(!PageSet(pageCount: pageCount).contains(-1) && !PageSet(pageCount: pageCount).contains(.max))
    }

    @Test("No number makes an extent that overflows")
    func hugeNumbers() {
        for (first, count) in [(Int.max, Int.max), (Int.min, Int.max), (.max, 1), (-1, -1)] {
            let extent = MemoryExtent(firstPage: first, pageCount: count)
            #expect(extent.endPage >= extent.firstPage && extent.offset + UInt64(extent.byteCount) <= UInt64(Int.max))
            var set = PageSet(pageCount: 100)
            set.insert(extent)
            set.insert(bitmap: [.max], at: first)
            #expect(!MemoryExtent.areValid([extent], pageCount: 100))
        }
    }

    @Test("Later layers lie over earlier ones, page by page, whatever is mapped and whatever copied", arguments: 0..<40)
    func plans(seed: UInt64) {
        var random = Random(seed: seed)
        let pageCount = 400
        let layers = (0..<1 + random.below(5)).map { _ in
            var set = PageSet(pageCount: pageCount)
            for _ in 0..<random.below(40) { set.insert(MemoryExtent(firstPage: random.below(pageCount), pageCount: 1 + random.below(6))) }
            return set.runs
        }
        var expected = [Int?](repeating: nil, count: pageCount)
        for (index, extents) in layers.enumerated() {
            for extent in extents { for page in extent.firstPage..<extent.endPage { expected[page] = index } }
        }
        for limit in [1, 2, 5, 1024] {
            let plan = LayerPlan(layers, limit: limit)
            #expect(plan.mappings.count <= limit)
            for pieces in [plan.mappings, plan.copies] {
                #expect(MemoryExtent.areValid(pieces.map { $0.extent }, pageCount: pageCount))
            }
            if limit == 1024 { #expect(plan.copies.isEmpty) }
            var found = [Int?](repeating: nil, count: pageCount)
            for piece in plan.mappings + plan.copies {
                for page in piece.firstPage..<piece.endPage { found[page] = piece.layer }
            }
            for page in 0..<pageCount where expected[page] != found[page] {
                // A page that no layer has may come from any file, which has zeros there.
                #expect(expected[page] == nil, "limit \(limit), page \(page)")
            }
        }
    }

    @Test("Pieces of one file are joined over small gaps first")
    func joining() {
        let layer = extents([(0, 10), (20, 10), (1000, 5), (5000, 1)])
        func mapped(_ limit: Int) -> [MemoryExtent] { LayerPlan([layer], limit: limit).mappings.map { $0.extent } }
        #expect(mapped(1024) == extents([(0, 30), (1000, 5), (5000, 1)]))
        #expect(mapped(2) == extents([(0, 1005), (5000, 1)]))
        #expect(mapped(1) == extents([(0, 5001)]))
        #expect(LayerPlan([], limit: 1).mappings.isEmpty)
    }
}
