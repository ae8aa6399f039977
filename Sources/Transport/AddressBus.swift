import Synchronization

/// Something that answers guest accesses to a range of addresses.
///
/// Called from vCPU threads, several at a time. Accesses are 1, 2, 4 or 8 bytes; values are little-endian in the low bytes.
public protocol BusDevice: AnyObject, Sendable {
    /// A read of `width` bytes, `offset` bytes into the range.
    func read(at offset: UInt64, width: Int) -> UInt64
    /// A write of `width` bytes, `offset` bytes into the range.
    func write(_ value: UInt64, at offset: UInt64, width: Int)
}

/// One of the guest's two address spaces for I/O: which device stands where. Ranges may come, go and move while vCPUs run.
public final class AddressBus: Sendable {
    /// A device and its place.
    private struct Entry {
        let range: Range<UInt64>
        let device: any BusDevice
    }

    /// Two devices cannot stand at one address.
    public struct Overlap: Error, Sendable, Equatable, CustomStringConvertible {
        /// The range that was to be added.
        public let range: Range<UInt64>
        /// One sentence.
        public var description: String {
            "The range 0x\(String(range.lowerBound, radix: 16))…0x\(String(range.upperBound - 1, radix: 16)) is already taken."
        }
    }

    private let entries = Mutex<[Entry]>([])

    /// An empty address space.
    public init() {}

    /// Puts a device at a non-empty range.
    public func insert(_ device: any BusDevice, at range: Range<UInt64>) throws(Overlap) {
        let added = entries.withLock { entries in
            let position = entries.firstIndex { $0.range.lowerBound >= range.lowerBound } ?? entries.count
            let fitsBelow = position == 0 || entries[position - 1].range.upperBound <= range.lowerBound
            let fitsAbove = position == entries.count || entries[position].range.lowerBound >= range.upperBound
            guard fitsBelow, fitsAbove, !range.isEmpty else { return false }
            entries.insert(Entry(range: range, device: device), at: position)
            return true
        }
        if !added { throw Overlap(range: range) }
    }

    /// Takes away whatever stands at exactly this range.
    public func remove(_ range: Range<UInt64>) {
        entries.withLock { $0.removeAll { $0.range == range } }
    }

    /// Reads; nil when nothing stands there (callers answer all ones, as a real bus does).
    public func read(at address: UInt64, width: Int) -> UInt64? {
        guard let (device, offset) = find(address, width) else { return nil }
        return device.read(at: offset, width: width)
    }

    /// Writes; false when nothing stands there.
    @discardableResult
    public func write(_ value: UInt64, at address: UInt64, width: Int) -> Bool {
        guard let (device, offset) = find(address, width) else { return false }
        device.write(value, at: offset, width: width)
        return true
    }

    /// The device under `width` bytes at `address`. The lock is not held while the device works: a write may move a range.
    private func find(_ address: UInt64, _ width: Int) -> (device: any BusDevice, offset: UInt64)? {
        entries.withLock { entries in
            var low = 0
            var high = entries.count
            while low < high {
                let middle = (low + high) / 2
                if entries[middle].range.upperBound <= address { low = middle + 1 } else { high = middle }
            }
            guard low < entries.count else { return nil }
            let entry = entries[low]
            guard entry.range.lowerBound <= address, UInt64(width) <= entry.range.upperBound - address else { return nil }
            return (entry.device, address - entry.range.lowerBound)
        }
    }
}
