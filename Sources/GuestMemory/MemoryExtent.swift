/// Some pages of guest RAM that follow one another, counted from the start of RAM as a whole (and of the memory file, if there is one):
/// the holes of a machine's address map are not in between.
public struct MemoryExtent: Sendable, Hashable {
    /// The size of a page, in bytes. Huge pages count as many.
    public static let pageSize = 4096
    /// More pages than any address space has, and few enough that offsets and sizes of bytes never overflow.
    private static let mostPages = 1 << 49

    /// The first page's number.
    public let firstPage: Int
    /// The number of pages.
    public let pageCount: Int

    /// An extent. Numbers below 0 become 0, and ones that no address space reaches the largest that one could, so that sums never overflow.
    public init(firstPage: Int, pageCount: Int) {
        self.firstPage = min(max(firstPage, 0), Self.mostPages)
        self.pageCount = min(max(pageCount, 0), Self.mostPages)
    }

    /// The number of the page behind the last one.
    public var endPage: Int { firstPage + pageCount }
    /// The offset of the first byte, in RAM as in an image of it.
    public var offset: UInt64 { UInt64(firstPage) * UInt64(Self.pageSize) }
    /// The size in bytes.
    public var byteCount: Int { pageCount * Self.pageSize }

    /// Whether extents ascend, hold at least one page each, do not overlap, and end within `pageCount` pages.
    public static func areValid(_ extents: [MemoryExtent], pageCount: Int) -> Bool {
        var end = 0
        for extent in extents {
            guard extent.pageCount > 0, extent.firstPage >= end else { return false }
            end = extent.endPage
        }
        return end <= pageCount
    }
}
