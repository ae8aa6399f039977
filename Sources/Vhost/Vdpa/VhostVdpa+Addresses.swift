import Host
import Synchronization
public import Virtqueue

// The I/O page table: what the device can reach, and under which addresses.

/// What a device may do with memory.
public struct DeviceAccess: OptionSet, Sendable, Hashable {
    /// 1: read; 2: write.
    public let rawValue: UInt8
    /// Wraps the bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The device may read.
    public static let read = DeviceAccess(rawValue: 1)
    /// The device may write.
    public static let write = DeviceAccess(rawValue: 2)
}

extension VhostVdpa {
    /// The addresses that mappings can have.
    public func addressRange() throws(VdpaError) -> ClosedRange<UInt64> {
        let range = try asked { () throws(SystemError) in try kernel.addressRange() }
        guard range.first <= range.last else { throw VdpaError(.other, "The device has no addresses to map memory at.") }
        return range.first...range.last
    }

    /// Lets the device reach memory at `address`, which like the memory is a multiple of the page size, as is its size.
    ///
    /// Some devices have the kernel lock the memory, which counts against RLIMIT_MEMLOCK; others, those of VDUSE, reach nothing but shared
    /// mappings of files, and *silently* nothing else. The memory must stay mapped in this process until it is unmapped here.
    /// - Throws: `outOfRange` for addresses that the device does not have, `overlap` where something is mapped, `memoryLimit`.
    public func dmaMap(
        _ memory: HostRange, at address: UInt64, access: DeviceAccess = [.read, .write], addressSpace: UInt32 = 0
    ) throws(VdpaError) {
        let (end, overflow) = address.addingReportingOverflow(UInt64(memory.count))
        guard memory.count > 0, !overflow || end == 0, !access.isEmpty else {
            throw VdpaError(.outOfRange, "\(memory.count) bytes cannot be mapped at 0x\(String(address, radix: 16)).")
        }
        let message = VdpaNode.TableMessage.map(
            iova: address, range: memory, reads: access.contains(.read), writes: access.contains(.write))
        do throws(VdpaError) { try send(message, addressSpace) } catch {
            guard error.kind == .outOfRange, let range = try? addressRange() else { throw error }
            let last = address &+ UInt64(memory.count - 1)
            guard !range.contains(address) || !range.contains(last) else { throw error }
            throw VdpaError(
                .outOfRange,
                "The device reaches addresses from \(hexadecimal(range.lowerBound)) to \(hexadecimal(range.upperBound)); \(hexadecimal(address)) to \(hexadecimal(last)) is not among them."
            )
        }
    }

    /// Takes away all that is mapped in `size` bytes from `address`. Where nothing is mapped, nothing happens.
    public func dmaUnmap(at address: UInt64, size: UInt64, addressSpace: UInt32 = 0) throws(VdpaError) {
        guard size > 0 else { throw VdpaError(.outOfRange, "Nothing can be unmapped at \(hexadecimal(address)).") }
        try send(.unmap(iova: address, size: size), addressSpace)
    }

    /// Changes that `body` makes to one address space take effect at its end, all at once, where the kernel knows batches; else one by one.
    /// One thread may have a batch at a time, and may not begin another one in it. When `body` throws, what it had done stays.
    public func withBatch(addressSpace: UInt32 = 0, _ body: () throws(VdpaError) -> Void) throws(VdpaError) {
        guard backendFeatures.contains(.batches) else { return try body() }
        let isFree = batch.withLock { batch in
            guard batch == nil else { return false }
            batch = addressSpace
            return true
        }
        guard isFree else { throw VdpaError(.busy, "A batch of changes has begun already.") }
        defer { batch.withLock { $0 = nil } }
        try send(.beginBatch, addressSpace)
        do throws(VdpaError) { try body() } catch {
            try? send(.endBatch, addressSpace)
            throw error
        }
        try send(.endBatch, addressSpace)
    }

    private func send(_ message: VdpaNode.TableMessage, _ addressSpace: UInt32) throws(VdpaError) {
        guard addressSpace == 0 || backendFeatures.contains(.addressSpaces) else {
            throw VdpaError(.unsupported, "The device has one address space (VHOST_BACKEND_F_IOTLB_ASID).")
        }
        let named = backendFeatures.contains(.tableMessages2) ? addressSpace : nil
        try asked { () throws(SystemError) in try kernel.send(message, addressSpace: named) }
    }

    // MARK: Several address spaces

    /// The number of groups of queues.
    public func groupCount() throws(VdpaError) -> Int { Int(clamping: try asked { () throws(SystemError) in try kernel.groupCount() }) }

    /// The number of address spaces.
    public func addressSpaceCount() throws(VdpaError) -> Int {
        Int(clamping: try asked { () throws(SystemError) in try kernel.addressSpaceCount() })
    }

    /// The group that a queue belongs to.
    public func group(of index: Int) throws(VdpaError) -> UInt32 {
        let number = try queue(index)
        return try asked { () throws(SystemError) in try kernel.queueGroup(number) }
    }

    /// Gives the queues of a group another address space.
    public func setAddressSpace(_ addressSpace: UInt32, ofGroup group: UInt32) throws(VdpaError) {
        try asked { () throws(SystemError) in try kernel.setGroupAddressSpace(group, addressSpace) }
    }
}

func hexadecimal(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }
