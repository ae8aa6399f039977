#ifndef SWVMM_CLINUX_PAGEMAP_H
#define SWVMM_CLINUX_PAGEMAP_H

// Which pages of its memory a process has: /proc/PID/pagemap, and the ioctl on it that Linux 6.7 brought. Headers older than that lack
// it, so its numbers stand here (linux/fs.h).

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

struct swv_page_run {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};

struct swv_page_scan {
    uint64_t size;
    uint64_t flags;
    uint64_t start;
    uint64_t end;
    uint64_t walk_end;
    uint64_t runs;
    uint64_t run_count;
    uint64_t most_pages;
    uint64_t category_inverted;
    uint64_t category_mask;
    uint64_t category_anyof_mask;
    uint64_t return_mask;
};

#define SWV_PAGEMAP_SCAN _IOWR('f', 16, struct swv_page_scan)

// Fills `runs` with runs of anonymous pages that are present or swapped, zero page excepted, between two addresses; the result is their
// number, `*walked` the address up to which it is complete.
static inline int swv_scan_own_pages(int pagemap, uint64_t start, uint64_t end, struct swv_page_run *runs, size_t count,
                                     uint64_t *walked) {
    enum { IS_FILE = 1 << 2, IS_PRESENT = 1 << 3, IS_SWAPPED = 1 << 4, IS_ZERO_PAGE = 1 << 5 };
    struct swv_page_scan scan;
    memset(&scan, 0, sizeof scan);
    scan.size = sizeof scan;
    scan.start = start;
    scan.end = end;
    scan.runs = (uint64_t)(uintptr_t)runs;
    scan.run_count = count;
    scan.category_inverted = IS_FILE | IS_ZERO_PAGE;
    scan.category_mask = IS_FILE | IS_ZERO_PAGE;
    scan.category_anyof_mask = IS_PRESENT | IS_SWAPPED;
    // The kernel wants some category back; this one is the same for all, so that neighbours become one run.
    scan.return_mask = IS_FILE;
    int found = ioctl(pagemap, SWV_PAGEMAP_SCAN, &scan);
    *walked = scan.walk_end;
    return found;
}

// An entry of the file itself: one 64-bit word per page.
#define SWV_PAGEMAP_PRESENT (1ull << 63)
#define SWV_PAGEMAP_SWAPPED (1ull << 62)
#define SWV_PAGEMAP_FILE_OR_SHARED (1ull << 61)

// MADV_POPULATE_READ (Linux 5.14), and lseek's two ways to find holes, which stand behind _GNU_SOURCE.
#define SWV_MADV_POPULATE_READ 22
#define SWV_SEEK_DATA 3
#define SWV_SEEK_HOLE 4

#endif
