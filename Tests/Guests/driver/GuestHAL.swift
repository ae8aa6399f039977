import Virtqueue

/// A guest without paging tricks and without an IOMMU: an address is the same to driver and device, so sharing a buffer is nothing but
/// counting. Pages are handed out once.
struct GuestHAL<Transport: DriverTransport>: DriverHAL {
    func allocate(pages: Int, _ direction: DMADirection) -> DMAMemory? { GuestPages.allocate(pages) }

    func deallocate(_ memory: DMAMemory, _ direction: DMADirection) { unsafe GuestPages.given -= memory.range.count / dmaPageSize }

    func share(_ buffer: HostRange, _ direction: DMADirection) -> UInt64? {
        unsafe GuestPages.shared += 1
        return unsafe UInt64(UInt(bitPattern: buffer.base))
    }

    func unshare(_ address: UInt64, _ buffer: HostRange, _ direction: DMADirection) { unsafe GuestPages.shared -= 1 }

    /// Looks at the clock only now and then: each look may be an exit.
    func wait(_ round: UInt64) -> Bool { Patience.isLeft(round) }
}

/// The memory from 8 MiB on, where nothing else is. It is zero, as RAM is when a machine starts.
enum GuestPages {
    private static let start: UInt = 8 << 20
    private static let end: UInt = 16 << 20
    nonisolated(unsafe) private static var next: UInt = 8 << 20
    /// Pages that were not given back, and buffers that are shared.
    nonisolated(unsafe) static var given = 0
    nonisolated(unsafe) static var shared = 0

    static func allocate(_ pages: Int) -> DMAMemory? {
        let bytes = UInt(pages) * UInt(dmaPageSize)
        let first = unsafe next
        guard first + bytes <= end, let base = unsafe UnsafeMutableRawPointer(bitPattern: first) else { return nil }
        unsafe next = first + bytes
        unsafe given += pages
        return DMAMemory(unsafe HostRange(base: base, count: Int(bytes)), address: UInt64(first))
    }

    static var isClean: Bool { unsafe given == 0 && shared == 0 }
}

/// How long a device may take: some fifty seconds, so that one that never answers becomes a failed check and not a guest that hangs.
enum Patience {
    private static let ticks: UInt64 = 1 << 37
    nonisolated(unsafe) private static var end: UInt64 = 0

    /// Whether to look for the `round`th time, counted from 0.
    static func isLeft(_ round: UInt64) -> Bool {
        if round == 0 { unsafe end = guest_tsc() &+ ticks }
        guard round & 0xff == 0xff else { return true }
        return unsafe guest_tsc() < end
    }
}
