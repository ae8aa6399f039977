import Host
import Synchronization
import Virtqueue

/// Parts of somebody else's RAM that come into being without a word, as a driver's in the host's kernel do (VDUSE): they are looked for when
/// an address is used that no region has.
public final class LateMemory: Sendable {
    private let find: @Sendable (_ address: UInt64) -> ForeignRegion?
    private let found = Mutex<[ForeignRegion]>([])

    /// The most parts that are kept.
    private static let mostRegions = 64

    /// `find` is asked for the part that an address lies in; nil: there is none. It is called by whoever uses the address, one at a time.
    public init(find: @escaping @Sendable (_ address: UInt64) -> ForeignRegion?) { self.find = find }

    func range(at address: UInt64, count: Int) -> HostRange? {
        found.withLock { found in
            for region in found {
                if let range = region.part(at: address, count: count) { return range }
            }
            guard found.count < Self.mostRegions, let region = find(address) else { return nil }
            found.append(region)
            return region.part(at: address, count: count)
        }
    }
}

extension ForeignRegion {
    fileprivate func part(at address: UInt64, count: Int) -> HostRange? {
        guard count >= 0, address >= guestAddress, address - guestAddress < size, UInt64(count) <= size - (address - guestAddress) else {
            return nil
        }
        return region.range.slice(from: Int(clamping: address - guestAddress), count: count)
    }
}
