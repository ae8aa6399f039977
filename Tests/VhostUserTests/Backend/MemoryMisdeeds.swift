import Host

@testable import VhostUser

/// What a front-end must not say about RAM.
enum MemoryMisdeeds {
    private static let page: UInt64 = 4096
    private static let base = RawDriver.userBase

    private static func region(_ guest: UInt64, _ size: UInt64, _ user: UInt64, at offset: UInt64 = 0) -> MemoryRegionDescription {
        MemoryRegionDescription(guestAddress: guest, size: size, userAddress: user, fileOffset: offset)
    }

    /// Tables that are wrong, whichever message brings them. The last region is the bad one.
    private static let tables: [(name: String, regions: [MemoryRegionDescription])] = [
        ("A region of 0 bytes", [region(0, 0, base)]),
        ("A region longer than its file", [region(0, RawDriver.ramSize + 1, base)]),
        ("A region behind the end of its file", [region(0, page, base, at: RawDriver.ramSize)]),
        ("A region of all bytes", [region(0, .max, 0)]),
        ("A file offset that overflows", [region(0, page, base, at: .max - 10)]),
        ("A guest address that overflows", [region(.max - 10, page, base)]),
        ("A user address that overflows", [region(0, page, .max - 10)]),
        ("The same region twice", [region(0, page, base), region(0, page, base)]),
        ("Regions that overlap in the guest", [region(page, page, base), region(page * 2 - 1, page, base + page * 8)]),
        ("Regions that overlap in the front-end", [region(0, page, base), region(page * 8, page, base + page - 1)]),
        ("A region below another that reaches into it", [region(page * 2, page, base + page * 8), region(0, page * 3, base)]),
        ("A region inside another", [region(0, page * 4, base), region(page, page, base + page * 8)]),
    ]

    static let all = asTable + oneByOne + others + places

    private static let asTable = tables.map { table in
        Misdeed("\(table.name), in a table", "SET_MEM_TABLE") { driver in
            try driver.greet()
            try driver.peer.send(.setMemoryTable(table.regions), passing: table.regions.map { _ in driver.file })
        }
    }

    private static let oneByOne = tables.map { table in
        Misdeed("\(table.name), one by one", "ADD_MEM_REG") { driver in
            try driver.greet()
            for region in table.regions { try driver.peer.send(.addMemoryRegion(region), passing: [driver.file]) }
        }
    }

    private static let others =
        [
            Misdeed("More regions than descriptors", "SET_MEM_TABLE came with 1") {
                try $0.peer.send(.setMemoryTable([region(0, page, base), region(page, page, base + page)]), passing: [$0.file])
            },
            Misdeed("More descriptors than regions", "SET_MEM_TABLE came with 2") {
                try $0.peer.send(.setMemoryTable([region(0, page, base)]), passing: [$0.file, $0.file])
            },
            Misdeed("A table of 33 regions", "SET_MEM_TABLE with") { driver in
                let regions = (0..<33).map { region($0 * page, page, base + $0 * page) }
                try driver.peer.send(.setMemoryTable(regions), passing: regions.map { _ in driver.file })
            },
            Misdeed("A 33rd region", "ADD_MEM_REG") { driver in
                let regions = (0..<32).map { region($0 * page, page, base + $0 * page, at: $0 * page) }
                try driver.peer.send(.setMemoryTable(regions), passing: regions.map { _ in driver.file })
                try driver.peer.send(.addMemoryRegion(region(32 * page, page, base + 32 * page)), passing: [driver.file])
            },
            Misdeed("A region without its descriptor", "ADD_MEM_REG came with 0", .addMemoryRegion(region(0, page, base))),
            Misdeed("RAM in an eventfd", "ADD_MEM_REG") {
                try $0.greet()
                try $0.peer.send(.addMemoryRegion(region(0, page, base)), passing: [$0.queue.call.rawValue])
            },
            Misdeed("The end of a region that is not there", "REM_MEM_REG", .removeMemoryRegion(region(0, page, base))),
            Misdeed("The end of a part of a region", "REM_MEM_REG") {
                try $0.greet()
                try $0.shareMemory()
                try $0.peer.send(.removeMemoryRegion(region(0, page, base)))
            },
        ]

    private static let places = [
        outside("A descriptor area below RAM") { $0.descriptorArea = 16 },
        outside("A driver area just below RAM") { $0.driverArea = base - 2 },
        outside("A device area just behind RAM") { $0.deviceArea = base + RawDriver.ramSize },
        outside("A descriptor area at the end of all addresses") { $0.descriptorArea = ~15 },
    ]

    /// A queue a part of which does not begin in RAM.
    private static func outside(_ name: String, _ change: @escaping @Sendable (inout RingAddresses) -> Void) -> Misdeed {
        Misdeed(name, "SET_VRING_ADDR puts queue 0 where no memory region is") { driver in
            try driver.greet()
            try driver.shareMemory()
            var addresses = driver.queue.addresses
            change(&addresses)
            try driver.peer.send(.setRingAddresses(addresses))
            try driver.peer.send(.setRingKick(driver.queue.present), passing: [driver.queue.kick.rawValue])
            try driver.peer.send(.setRingEnable(driver.queue.state(1)))
        }
    }
}
