import CLinux
import Glibc
public import Virtqueue

/// An open `/dev/vhost-vdpa-N`: one function per request of linux/vhost.h, each a system call and nothing else.
///
/// What the requests mean, and in what order they make sense, is the business of `VhostVdpa`.
public final class VdpaNode: Sendable {
    /// What one message to the I/O page table does (struct vhost_iotlb_msg).
    public enum TableMessage: Sendable {
        /// Lets the device reach `range` at an address: reading, writing, or both.
        case map(iova: UInt64, range: HostRange, reads: Bool, writes: Bool)
        /// Takes all mappings in `iova ..< iova + size` away.
        case unmap(iova: UInt64, size: UInt64)
        /// What follows takes effect with `endBatch`.
        case beginBatch
        /// Ends a batch.
        case endBatch
    }

    private let descriptor: OwnedDescriptor

    /// Takes over a descriptor that was opened for reading and writing.
    public init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }

    // MARK: The device

    /// VHOST_SET_OWNER.
    public func setOwner() throws(SystemError) { try plain("VHOST_SET_OWNER", SWV_VHOST_SET_OWNER) }

    /// VHOST_VDPA_GET_DEVICE_ID.
    public func deviceID() throws(SystemError) -> UInt32 {
        var value: UInt32 = 0
        try unsafe structure("VHOST_VDPA_GET_DEVICE_ID", SWV_VDPA_GET_DEVICE_ID, &value)
        return value
    }

    /// VHOST_VDPA_GET_STATUS.
    public func status() throws(SystemError) -> UInt8 {
        var value: UInt8 = 0
        try unsafe structure("VHOST_VDPA_GET_STATUS", SWV_VDPA_GET_STATUS, &value)
        return value
    }

    /// VHOST_VDPA_SET_STATUS.
    public func setStatus(_ status: UInt8) throws(SystemError) {
        var value = status
        try unsafe structure("VHOST_VDPA_SET_STATUS", SWV_VDPA_SET_STATUS, &value)
    }

    /// VHOST_GET_FEATURES.
    public func features() throws(SystemError) -> UInt64 { try word("VHOST_GET_FEATURES", SWV_VHOST_GET_FEATURES) }

    /// VHOST_SET_FEATURES.
    public func setFeatures(_ features: UInt64) throws(SystemError) {
        var value = features
        try unsafe structure("VHOST_SET_FEATURES", SWV_VHOST_SET_FEATURES, &value)
    }

    /// VHOST_GET_BACKEND_FEATURES.
    public func backendFeatures() throws(SystemError) -> UInt64 {
        try word("VHOST_GET_BACKEND_FEATURES", SWV_VHOST_GET_BACKEND_FEATURES)
    }

    /// VHOST_SET_BACKEND_FEATURES.
    public func setBackendFeatures(_ features: UInt64) throws(SystemError) {
        var value = features
        try unsafe structure("VHOST_SET_BACKEND_FEATURES", SWV_VHOST_SET_BACKEND_FEATURES, &value)
    }

    /// VHOST_VDPA_SUSPEND.
    public func suspend() throws(SystemError) { try plain("VHOST_VDPA_SUSPEND", SWV_VDPA_SUSPEND) }

    /// VHOST_VDPA_RESUME.
    public func resume() throws(SystemError) { try plain("VHOST_VDPA_RESUME", SWV_VDPA_RESUME) }

    // MARK: Configuration space

    /// VHOST_VDPA_GET_CONFIG_SIZE, in bytes.
    public func configurationSize() throws(SystemError) -> UInt32 {
        try count("VHOST_VDPA_GET_CONFIG_SIZE", SWV_VDPA_GET_CONFIG_SIZE)
    }

    /// VHOST_VDPA_GET_CONFIG: `count` bytes from `offset`.
    public func configuration(at offset: UInt32, count: Int) throws(SystemError) -> [UInt8] {
        try configuration("VHOST_VDPA_GET_CONFIG", SWV_VDPA_GET_CONFIG, offset, [UInt8](repeating: 0, count: count))
    }

    /// VHOST_VDPA_SET_CONFIG.
    public func setConfiguration(_ bytes: [UInt8], at offset: UInt32) throws(SystemError) {
        _ = try configuration("VHOST_VDPA_SET_CONFIG", SWV_VDPA_SET_CONFIG, offset, bytes)
    }

    /// VHOST_VDPA_SET_CONFIG_CALL; nil unbinds.
    public func setConfigurationCall(_ event: EventFD?) throws(SystemError) {
        var value = event?.rawValue ?? -1
        try unsafe structure("VHOST_VDPA_SET_CONFIG_CALL", SWV_VDPA_SET_CONFIG_CALL, &value)
    }

    // MARK: Rings

    /// VHOST_VDPA_GET_VQS_COUNT.
    public func queueCount() throws(SystemError) -> UInt32 { try count("VHOST_VDPA_GET_VQS_COUNT", SWV_VDPA_GET_VQS_COUNT) }

    /// VHOST_VDPA_GET_VRING_NUM.
    public func largestQueueSize() throws(SystemError) -> UInt16 {
        var value: UInt16 = 0
        try unsafe structure("VHOST_VDPA_GET_VRING_NUM", SWV_VDPA_GET_VRING_NUM, &value)
        return value
    }

    /// VHOST_SET_VRING_NUM.
    public func setQueueSize(_ index: UInt32, _ size: UInt32) throws(SystemError) {
        try set("VHOST_SET_VRING_NUM", SWV_VHOST_SET_VRING_NUM, index, size)
    }

    /// VHOST_SET_VRING_ADDR, with addresses as the device sees them.
    public func setQueueAddresses(
        _ index: UInt32, descriptorArea: UInt64, driverArea: UInt64, deviceArea: UInt64
    ) throws(SystemError) {
        var addresses = swv_vring_addresses()
        addresses.index = index
        (addresses.descriptor_area, addresses.driver_area, addresses.device_area) = (descriptorArea, driverArea, deviceArea)
        try unsafe structure("VHOST_SET_VRING_ADDR", SWV_VHOST_SET_VRING_ADDR, &addresses)
    }

    /// VHOST_SET_VRING_BASE.
    public func setQueueBase(_ index: UInt32, _ base: UInt32) throws(SystemError) {
        try set("VHOST_SET_VRING_BASE", SWV_VHOST_SET_VRING_BASE, index, base)
    }

    /// VHOST_GET_VRING_BASE.
    public func queueBase(_ index: UInt32) throws(SystemError) -> UInt32 {
        var state = swv_vring_state(index: index, number: 0)
        try unsafe structure("VHOST_GET_VRING_BASE", SWV_VHOST_GET_VRING_BASE, &state)
        return state.number
    }

    /// VHOST_SET_VRING_KICK; nil unbinds.
    public func setQueueKick(_ index: UInt32, _ event: EventFD?) throws(SystemError) {
        try set("VHOST_SET_VRING_KICK", SWV_VHOST_SET_VRING_KICK, index, event)
    }

    /// VHOST_SET_VRING_CALL; nil unbinds.
    public func setQueueCall(_ index: UInt32, _ event: EventFD?) throws(SystemError) {
        try set("VHOST_SET_VRING_CALL", SWV_VHOST_SET_VRING_CALL, index, event)
    }

    /// VHOST_SET_VRING_ERR; nil unbinds.
    public func setQueueError(_ index: UInt32, _ event: EventFD?) throws(SystemError) {
        try set("VHOST_SET_VRING_ERR", SWV_VHOST_SET_VRING_ERR, index, event)
    }

    /// VHOST_VDPA_SET_VRING_ENABLE.
    public func setQueueEnabled(_ index: UInt32, _ isEnabled: Bool) throws(SystemError) {
        try set("VHOST_VDPA_SET_VRING_ENABLE", SWV_VDPA_SET_VRING_ENABLE, index, isEnabled ? 1 : 0)
    }

    // MARK: Addresses

    /// VHOST_VDPA_GET_IOVA_RANGE: the first and the last address that mappings can have.
    public func addressRange() throws(SystemError) -> (first: UInt64, last: UInt64) {
        var range = swv_iova_range()
        try unsafe structure("VHOST_VDPA_GET_IOVA_RANGE", SWV_VDPA_GET_IOVA_RANGE, &range)
        return (range.first, range.last)
    }

    /// VHOST_VDPA_GET_GROUP_NUM.
    public func groupCount() throws(SystemError) -> UInt32 { try count("VHOST_VDPA_GET_GROUP_NUM", SWV_VDPA_GET_GROUP_NUM) }

    /// VHOST_VDPA_GET_AS_NUM.
    public func addressSpaceCount() throws(SystemError) -> UInt32 { try count("VHOST_VDPA_GET_AS_NUM", SWV_VDPA_GET_AS_NUM) }

    /// VHOST_VDPA_GET_VRING_GROUP.
    public func queueGroup(_ index: UInt32) throws(SystemError) -> UInt32 {
        var state = swv_vring_state(index: index, number: 0)
        try unsafe structure("VHOST_VDPA_GET_VRING_GROUP", SWV_VDPA_GET_VRING_GROUP, &state)
        return state.number
    }

    /// VHOST_VDPA_SET_GROUP_ASID.
    public func setGroupAddressSpace(_ group: UInt32, _ addressSpace: UInt32) throws(SystemError) {
        try set("VHOST_VDPA_SET_GROUP_ASID", SWV_VDPA_SET_GROUP_ASID, group, addressSpace)
    }

    /// Writes a message to the I/O page table. `addressSpace` nil: in the first form, which knows no address spaces.
    public func send(_ message: TableMessage, addressSpace: UInt32?) throws(SystemError) {
        var words = swv_iotlb_message()
        (words.type, words.asid) = (addressSpace == nil ? 1 : 2, addressSpace ?? 0)
        switch message {
        case .map(let iova, let range, let reads, let writes):
            (words.kind, words.iova, words.size) = (2, iova, UInt64(range.count))
            words.address = unsafe UInt64(UInt(bitPattern: range.base))
            words.permission = (reads ? 1 : 0) | (writes ? 2 : 0)
        case .unmap(let iova, let size): (words.kind, words.iova, words.size) = (3, iova, size)
        case .beginBatch: words.kind = 5
        case .endBatch: words.kind = 6
        }
        let raw = descriptor.rawValue
        let name: StaticString =
            switch message {
            case .map: "VHOST_IOTLB_UPDATE"
            case .unmap: "VHOST_IOTLB_INVALIDATE"
            case .beginBatch: "VHOST_IOTLB_BATCH_BEGIN"
            case .endBatch: "VHOST_IOTLB_BATCH_END"
            }
        let written = try retryingOnInterrupt(name) { unsafe swv_iotlb_write(raw, &words) }
        guard written == MemoryLayout<swv_iotlb_message>.size else { throw SystemError("\(name)", .inputOutput) }
    }

    /// How many bytes this process may lock in memory (RLIMIT_MEMLOCK); nil: as many as it likes.
    public static var memoryLockLimit: UInt64? {
        let limit = swv_memory_lock_limit()
        return limit == .max ? nil : limit
    }

    // MARK: Shapes of requests

    private func plain(_ name: StaticString, _ request: swv_vhost_request) throws(SystemError) {
        let raw = descriptor.rawValue
        _ = try retryingOnInterrupt(name) { swv_vhost_plain(raw, request) }
    }

    private func structure(
        _ name: StaticString, _ request: swv_vhost_request, _ argument: UnsafeMutableRawPointer
    ) throws(SystemError) {
        let raw = descriptor.rawValue
        _ = try retryingOnInterrupt(name) { unsafe swv_vhost_structure(raw, request, argument) }
    }

    private func word(_ name: StaticString, _ request: swv_vhost_request) throws(SystemError) -> UInt64 {
        var value: UInt64 = 0
        try unsafe structure(name, request, &value)
        return value
    }

    private func count(_ name: StaticString, _ request: swv_vhost_request) throws(SystemError) -> UInt32 {
        var value: UInt32 = 0
        try unsafe structure(name, request, &value)
        return value
    }

    private func set(_ name: StaticString, _ request: swv_vhost_request, _ index: UInt32, _ number: UInt32) throws(SystemError) {
        var state = swv_vring_state(index: index, number: number)
        try unsafe structure(name, request, &state)
    }

    private func set(_ name: StaticString, _ request: swv_vhost_request, _ index: UInt32, _ event: EventFD?) throws(SystemError) {
        var file = swv_vring_file(index: index, fd: event?.rawValue ?? -1)
        try unsafe structure(name, request, &file)
    }

    private func configuration(
        _ name: StaticString, _ request: swv_vhost_request, _ offset: UInt32, _ bytes: [UInt8]
    ) throws(SystemError) -> [UInt8] {
        let head = MemoryLayout<swv_vdpa_config>.size
        guard let length = UInt32(exactly: bytes.count) else { throw SystemError("\(name)", .invalidArgument) }
        var area = [UInt8](repeating: 0, count: head) + bytes
        let raw = descriptor.rawValue
        var failure: SystemError?
        unsafe area.withUnsafeMutableBufferPointer { area in
            do throws(SystemError) {
                _ = try retryingOnInterrupt(name) { unsafe swv_vdpa_config(raw, request, offset, length, area.baseAddress) }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return Array(area.dropFirst(head))
    }
}
