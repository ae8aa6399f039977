/// Counts, and remembers: what a guest must not notice when it is put to sleep, saved and brought back.
///
/// Each round touches pages of an area of memory and looks whether they hold what was left there; then it prints `tick N TSC`. `pages=N` on
/// the command line sets the number of pages (512 without), `ticks=N` ends the virtual machine with code 0 after so many rounds, `mmio=N` brings
/// the first N virtio-mmio devices to life before. Whatever is wrong ends it with code 1, after a line that begins with `bad`.
@_cdecl("guest_main")
func main(information: UInt, form: Int32) {
    let boot = BootInformation(form: form == 0 ? .bootParams : .hvmStartInfo, address: information)
    let pages = boot.number(after: "pages=") ?? 512
    let last = boot.number(after: "ticks=")
    let devices = boot.number(after: "mmio=") ?? 0
    for slot in 0..<UInt(devices) where !IdleDriver.begin(slot) {
        Guest.print("bad device\n")
        Guest.exit(1)
    }
    let area = Area(pageCount: UInt(pages))
    var state: UInt64 = 0x9e37_79b9_7f4a_7c15
    var tick: UInt64 = 0
    var before = guest_tsc()
    while tick != last {
        tick += 1
        for _ in 0..<16 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            if !area.visit(UInt(state % pages)) {
                Guest.print("bad memory\n")
                Guest.exit(1)
            }
        }
        let now = guest_tsc()
        if now < before {
            Guest.print("bad clock\n")
            Guest.exit(1)
        }
        before = now
        Guest.print("tick ")
        Guest.print(tick)
        Guest.print(" ")
        Guest.print(now)
        Guest.print("\n")
    }
    Guest.exit(0)
}

/// Pages from 8 MiB on. The first word of each counts its visits, the second one follows from page and count.
private struct Area {
    private static let start: UInt = 8 << 20
    let pageCount: UInt

    func visit(_ page: UInt) -> Bool {
        guard let words = unsafe UnsafeMutablePointer<UInt64>(bitPattern: Self.start + page * 4096) else { return false }
        let count = unsafe words[0]
        guard unsafe count == 0 ? words[1] == 0 : words[1] == mark(page, count) else { return false }
        unsafe words[0] = count + 1
        unsafe words[1] = mark(page, count + 1)
        return true
    }

    private func mark(_ page: UInt, _ count: UInt64) -> UInt64 {
        (UInt64(page) &* 0xff51_afd7_ed55_8ccd ^ count) &* 0xc4ce_b9fe_1a85_ec53
    }
}
