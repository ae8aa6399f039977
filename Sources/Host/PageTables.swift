import CLinux
import Glibc
public import Virtqueue

extension OwnedDescriptor {
    /// Opens the page tables of this process (`/proc/self/pagemap`), for `ownPages`. It goes on working where no path can be opened.
    public static func pageTables() throws(SystemError) -> OwnedDescriptor { try open("/proc/self/pagemap", flags: O_RDONLY) }

    /// Finds the pages of `range` that are this process's own: anonymous, and touched. Where a file is mapped privately these are the pages
    /// that were written. `body` gets runs of them in ascending order, as numbers of pages of 4096 bytes from the start of the range.
    ///
    /// This descriptor is one of `pageTables()`. Linux 6.7 walks its page tables itself, which costs next to nothing for memory that was
    /// never touched; an older kernel is asked for 8 bytes per page. It cannot tell pages of zeros that were only read from written ones.
    /// `asksKernel` false takes the older way, for tests.
    public borrowing func ownPages(
        of range: HostRange, asksKernel: Bool = true, _ body: (_ firstPage: Int, _ pageCount: Int) -> Void
    ) throws(SystemError) {
        guard unsafe UInt(bitPattern: range.base) % 4096 == 0, range.count % 4096 == 0 else {
            throw SystemError("pagemap", .invalidArgument)
        }
        if asksKernel {
            do throws(SystemError) {
                return try scanOwnPages(of: range, body)
            } catch {
                // No such ioctl.
                guard error.errno == .notTerminal || error.errno == .invalidArgument else { throw error }
            }
        }
        try readOwnPages(of: range, body)
    }

    private borrowing func scanOwnPages(of range: HostRange, _ body: (Int, Int) -> Void) throws(SystemError) {
        let raw = rawValue
        let base = unsafe UInt64(UInt(bitPattern: range.base))
        let end = base + UInt64(range.count)
        let capacity = 512
        let runs = UnsafeMutablePointer<swv_page_run>.allocate(capacity: capacity)
        unsafe runs.initialize(repeating: swv_page_run(), count: capacity)
        defer { unsafe runs.deallocate() }
        var position = base
        while position < end {
            var walked: UInt64 = 0
            let found = try retryingOnInterrupt("PAGEMAP_SCAN") {
                unsafe swv_scan_own_pages(raw, position, end, runs, capacity, &walked)
            }
            for index in 0..<min(Int(found), capacity) {
                let run = unsafe runs[index]
                guard run.start >= base, run.start < run.end, run.end <= end else { continue }
                body(Int((run.start - base) / 4096), Int((run.end - run.start) / 4096))
            }
            guard walked > position else { throw SystemError("PAGEMAP_SCAN", .overflow) }
            position = walked
        }
    }

    private borrowing func readOwnPages(of range: HostRange, _ body: (Int, Int) -> Void) throws(SystemError) {
        let first = unsafe UInt64(UInt(bitPattern: range.base)) / 4096
        let total = range.count / 4096
        let entries = ByteBuffer(count: 8 * min(total, 32768))
        var page = 0
        var runStart: Int?
        while page < total {
            let wanted = entries.range(count: 8 * (total - page))
            let count = try readAll(into: wanted, at: 8 * (first + UInt64(page))) / 8
            guard count > 0 else { throw SystemError("pagemap", .inputOutput) }
            for index in 0..<count {
                let entry = entries.range().load(at: 8 * index, as: UInt64.self) ?? 0
                let isPresent = entry & (SWV_PAGEMAP_PRESENT | SWV_PAGEMAP_SWAPPED) != 0
                if isPresent, entry & SWV_PAGEMAP_FILE_OR_SHARED == 0 {
                    runStart = runStart ?? page + index
                } else if let start = runStart {
                    body(start, page + index - start)
                    runStart = nil
                }
            }
            page += count
        }
        if let start = runStart { body(start, total - start) }
    }
}
