import GuestMemory
import Host

/// The guest's RAM as a front-end describes it: regions, and the addresses that they have in its own process.
struct BackendMemory {
    private struct Region {
        let description: MemoryRegionDescription
        let mapping: ForeignRegion
    }

    private var regions: [Region] = []

    /// Maps a region that `request` brought. It may not overlap another one, in either address space.
    mutating func add(
        _ description: MemoryRegionDescription, _ file: consuming OwnedDescriptor, _ request: String
    ) throws(VhostUserError) {
        let place = "at 0x\(String(description.guestAddress, radix: 16)) (\(description.size) bytes)"
        let (_, overflow) = description.userAddress.addingReportingOverflow(description.size)
        guard !overflow else { throw .violation("\(request) has a region \(place) that ends behind all user addresses.") }
        guard regions.count < FrontEndMessage.mostRegions else {
            throw .violation("\(request) adds a region \(place) to \(regions.count); there may be no more.")
        }
        for region in regions where Self.overlap(region.description, description) {
            throw .violation("\(request) has a region \(place) that overlaps another one.")
        }
        do {
            let mapping = try ForeignRegion(
                guestAddress: description.guestAddress, size: description.size, file: file, fileOffset: description.fileOffset)
            regions.append(Region(description: description, mapping: mapping))
        } catch {
            // An empty region, one beyond all addresses, a file that is too short: that is the front-end's doing.
            let isImpossible = error.errno == .invalidArgument || error.errno == .fileTooLarge
            throw VhostUserError(
                isImpossible ? .violation : .host, "\(request) has a region \(place) that cannot be mapped (\(error)).")
        }
    }

    /// Forgets a region; its place in the file does not count, as the protocol has it.
    mutating func remove(_ description: MemoryRegionDescription) throws(VhostUserError) {
        let index = regions.firstIndex {
            $0.description.guestAddress == description.guestAddress && $0.description.size == description.size
                && $0.description.userAddress == description.userAddress
        }
        guard let index else {
            throw .violation("REM_MEM_REG names a region at 0x\(String(description.guestAddress, radix: 16)) that is not there.")
        }
        regions.remove(at: index)
    }

    private static func overlap(_ one: MemoryRegionDescription, _ other: MemoryRegionDescription) -> Bool {
        func meet(_ first: UInt64, _ second: UInt64) -> Bool {
            first < second ? second - first < one.size : first - second < other.size
        }
        return meet(one.guestAddress, other.guestAddress) || meet(one.userAddress, other.userAddress)
    }

    /// The guest address of an address in the front-end's process; nil outside all regions.
    func guestAddress(ofUser address: UInt64) -> UInt64? {
        for region in regions.map(\.description) where address >= region.userAddress && address - region.userAddress < region.size {
            return region.guestAddress &+ (address - region.userAddress)
        }
        return nil
    }

    /// The regions as RAM for a device, which notes in the log what it writes; nil when there are none.
    func guestMemory(log: ForeignLog?) throws(VhostUserError) -> GuestMemory? {
        guard !regions.isEmpty else { return nil }
        do { return try GuestMemory(foreign: regions.map(\.mapping), log: log) } catch {
            if log != nil, error.errno == .fileTooLarge {
                throw .violation("SET_LOG_BASE has brought a log with no bits for the last of RAM.")
            }
            throw .violation("The memory regions cannot be put together (\(error)).")
        }
    }
}
