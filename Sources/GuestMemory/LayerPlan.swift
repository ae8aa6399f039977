/// How layers of memory become one RAM: what is mapped, and what is copied on top of that because it would take too many mappings.
///
/// A kernel allows 65530 mappings per process, and a page fault has to find its own among them; a machine after hours of small changes
/// would have more pieces than that. So pieces of one file are joined over small gaps (there the file has zeros, as RAM has), and where
/// pieces of several files alternate, the small ones of upper layers are read instead.
struct LayerPlan: Equatable {
    /// Pages that come from one layer.
    struct Piece: Equatable {
        var firstPage: Int
        var endPage: Int
        /// The layer's index; higher ones lie above.
        var layer: Int

        var extent: MemoryExtent { MemoryExtent(firstPage: firstPage, pageCount: endPage - firstPage) }
    }

    /// Ascending, not overlapping.
    private(set) var mappings: [Piece]
    /// Ascending, not overlapping; they lie over the mappings.
    private(set) var copies: [Piece]

    /// A plan for layers of valid extents, the lowest first, with at most `limit` mappings (1 or more).
    init(_ layers: [[MemoryExtent]], limit: Int) {
        var pieces: [Piece] = []
        for (index, extents) in layers.enumerated() {
            let upper = extents.map { Piece(firstPage: $0.firstPage, endPage: $0.endPage, layer: index) }
            pieces = Self.overlay(pieces, upper)
        }
        // At first 64 KiB, which is what a fault brings in around its page.
        var gap = 16
        var largestCopy = 0
        while true {
            let kept = pieces.filter { !Self.isCopy($0, largestCopy) }
            mappings = Self.joined(kept, over: gap)
            // In the end one mapping of the lowest layer is left.
            if mappings.count <= max(limit, 1) { break }
            gap *= 2
            if layers.count > 1 { largestCopy = max(1, largestCopy * 2) }
        }
        copies = pieces.filter { Self.isCopy($0, largestCopy) }
    }

    private static func isCopy(_ piece: Piece, _ largest: Int) -> Bool { piece.layer > 0 && piece.endPage - piece.firstPage <= largest }

    /// `lower` where `upper` is not, and `upper`; both are ascending and do not overlap in themselves.
    static func overlay(_ lower: [Piece], _ upper: [Piece]) -> [Piece] {
        var result: [Piece] = []
        result.reserveCapacity(lower.count + upper.count)
        var next = 0
        for piece in lower {
            var rest = piece
            while next < upper.count, upper[next].firstPage < rest.endPage {
                let above = upper[next]
                if above.firstPage > rest.firstPage {
                    result.append(Piece(firstPage: rest.firstPage, endPage: above.firstPage, layer: rest.layer))
                }
                rest.firstPage = max(rest.firstPage, min(above.endPage, rest.endPage))
                // It may hide the next lower piece as well.
                if above.endPage > rest.endPage { break }
                result.append(above)
                next += 1
            }
            if rest.firstPage < rest.endPage { result.append(rest) }
        }
        return result + upper[next...]
    }

    /// Joins neighbours of the same layer with no more than `gap` pages between them.
    private static func joined(_ pieces: [Piece], over gap: Int) -> [Piece] {
        var result: [Piece] = []
        for piece in pieces {
            if let last = result.last, last.layer == piece.layer, piece.firstPage - last.endPage <= gap {
                result[result.count - 1].endPage = piece.endPage
            } else {
                result.append(piece)
            }
        }
        return result
    }
}
