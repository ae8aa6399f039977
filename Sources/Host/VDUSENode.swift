import CLinux
import Glibc
public import Virtqueue

/// `/dev/vduse/control`: makes devices of which the host's kernel is the driver, and takes them away.
public struct VDUSEControl: ~Copyable, Sendable {
    private let descriptor: OwnedDescriptor

    /// Takes over an open `/dev/vduse/control`, and says that we speak the first version of the interface.
    public init(_ descriptor: consuming OwnedDescriptor) throws(SystemError) {
        self.descriptor = descriptor
        let raw = self.descriptor.rawValue
        var version: UInt64 = 0
        _ = try retryingOnInterrupt("VDUSE_SET_API_VERSION") { unsafe swv_vduse_structure(raw, SWV_VDUSE_SET_API_VERSION, &version) }
    }

    /// Makes a device (VDUSE_CREATE_DEV), which then is at `/dev/vduse/NAME`.
    ///
    /// - Throws: EEXIST when the name is taken; EINVAL for what the kernel does not allow: a name of no or of more than 255 bytes, a type other
    ///   than block and net, features without VERSION_1 or ACCESS_PLATFORM.
    public borrowing func create(
        _ name: String, device: UInt16, features: UInt64, queueCount: Int, configuration: [UInt8]
    ) throws(SystemError) {
        let raw = descriptor.rawValue
        guard (1...255).contains(name.utf8.count), let count = UInt32(exactly: queueCount), configuration.count <= 4096 else {
            throw SystemError("VDUSE_CREATE_DEV", .invalidArgument)
        }
        _ = try retryingOnInterrupt("VDUSE_CREATE_DEV") {
            unsafe swv_vduse_create(
                raw, name, UInt32(device), features, count, 4096, configuration, UInt32(truncatingIfNeeded: configuration.count))
        }
    }

    /// Takes a device away (VDUSE_DESTROY_DEV).
    /// - Throws: EBUSY while it is attached to a driver, or open.
    public borrowing func destroy(_ name: String) throws(SystemError) {
        let raw = descriptor.rawValue
        _ = try retryingOnInterrupt("VDUSE_DESTROY_DEV") { unsafe swv_vduse_destroy(raw, name) }
    }
}

/// An open `/dev/vduse/NAME`: the device's end. One function per request of linux/vduse.h, each a system call and nothing else.
public final class VDUSENode: Sendable {
    /// What the kernel asks.
    public struct Request: Sendable, Equatable {
        /// Which request.
        public enum Kind: Sendable, Equatable {
            /// Where does a queue stand (VDUSE_GET_VQ_STATE)?
            case queueState(UInt32)
            /// The driver has written the status field (VDUSE_SET_STATUS).
            case status(UInt8)
            /// What is mapped in a range of addresses has changed (VDUSE_UPDATE_IOTLB).
            case mappings(first: UInt64, last: UInt64)
            /// Another one, by its number.
            case unknown(UInt32)
        }
        /// To be repeated in the answer.
        public let id: UInt32
        /// What is asked.
        public let kind: Kind

        /// A request.
        public init(id: UInt32, kind: Kind) {
            self.id = id
            self.kind = kind
        }
    }

    /// A stretch of the driver's memory, and where it lies in a file.
    public struct Mapping: Sendable, Equatable {
        /// The first address.
        public let first: UInt64
        /// The last address.
        public let last: UInt64
        /// Where the first address lies in the file.
        public let offset: UInt64
        /// Whether the device may read it.
        public let isReadable: Bool
        /// Whether the device may write it.
        public let isWritable: Bool

        /// A mapping.
        public init(first: UInt64, last: UInt64, offset: UInt64, isReadable: Bool, isWritable: Bool) {
            self.first = first
            self.last = last
            self.offset = offset
            self.isReadable = isReadable
            self.isWritable = isWritable
        }
    }

    /// What the driver has set up for a queue.
    public struct QueueInfo: Sendable, Equatable {
        /// The number of descriptors.
        public let size: UInt32
        /// Where the descriptor area is.
        public let descriptorArea: UInt64
        /// Where the driver area is.
        public let driverArea: UInt64
        /// Where the device area is.
        public let deviceArea: UInt64
        /// Where the queue stands.
        public let position: QueuePosition
        /// Whether the driver has enabled it.
        public let isReady: Bool

        /// A queue.
        public init(
            size: UInt32, descriptorArea: UInt64, driverArea: UInt64, deviceArea: UInt64, position: QueuePosition, isReady: Bool
        ) {
            self.size = size
            (self.descriptorArea, self.driverArea, self.deviceArea) = (descriptorArea, driverArea, deviceArea)
            (self.position, self.isReady) = (position, isReady)
        }
    }

    private let descriptor: OwnedDescriptor

    /// Takes over a descriptor that was opened for reading and writing.
    public init(_ descriptor: consuming OwnedDescriptor) throws(SystemError) {
        try descriptor.setNonBlocking()
        self.descriptor = descriptor
    }

    /// For polling: readable when there is a request.
    public var rawValue: Int32 { descriptor.rawValue }

    /// Takes the next request; nil when there is none.
    public func nextRequest() throws(SystemError) -> Request? {
        var request = swv_vduse_request()
        let raw = descriptor.rawValue
        do throws(SystemError) {
            _ = try retryingOnInterrupt("read") { unsafe swv_vduse_receive(raw, &request) }
        } catch {
            if error.errno == .wouldBlock { return nil }
            throw error
        }
        let kind: Request.Kind =
            switch request.type {
            case 0: .queueState(request.index)
            case 1: .status(request.status)
            case 2: .mappings(first: request.first, last: request.last)
            default: .unknown(request.type)
            }
        return Request(id: request.id, kind: kind)
    }

    /// Answers a request. `position` is where the queue stands, for who asked for that. ENOENT when nobody waits for the answer any more.
    public func answer(
        _ request: Request, succeeded: Bool, position: QueuePosition? = nil, _ format: RingFormat = .split
    ) throws(SystemError) {
        var response = swv_vduse_response()
        (response.id, response.result) = (request.id, succeeded ? 0 : 1)
        if case .queueState(let index) = request.kind, let position {
            response.index = index
            response.state = Self.words(position, format)
        }
        let raw = descriptor.rawValue
        _ = try retryingOnInterrupt("write") { unsafe swv_vduse_respond(raw, &response) }
    }

    private static func words(_ position: QueuePosition, _ format: RingFormat) -> (UInt16, UInt16, UInt16, UInt16) {
        switch format {
        case .split: (position.available, 0, 0, 0)
        case .packed: (position.availableWrap ? 1 : 0, position.available, position.usedWrap ? 1 : 0, position.used)
        }
    }

    /// What the driver has accepted (VDUSE_DEV_GET_FEATURES).
    public func negotiatedFeatures() throws(SystemError) -> UInt64 {
        var features: UInt64 = 0
        try unsafe structure("VDUSE_DEV_GET_FEATURES", SWV_VDUSE_DEV_GET_FEATURES, &features)
        return features
    }

    /// Shows the driver another configuration space, from its beginning (VDUSE_DEV_SET_CONFIG), and tells it (VDUSE_DEV_INJECT_CONFIG_IRQ).
    public func setConfiguration(_ bytes: [UInt8]) throws(SystemError) {
        guard let length = UInt32(exactly: bytes.count) else { throw SystemError("VDUSE_DEV_SET_CONFIG", .invalidArgument) }
        var area = [UInt8](repeating: 0, count: MemoryLayout<swv_vduse_window>.size) + bytes
        let raw = descriptor.rawValue
        var failure: SystemError?
        unsafe area.withUnsafeMutableBufferPointer { area in
            do throws(SystemError) {
                _ = try retryingOnInterrupt("VDUSE_DEV_SET_CONFIG") { unsafe swv_vduse_set_config(raw, 0, length, area.baseAddress) }
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        _ = try retryingOnInterrupt("VDUSE_DEV_INJECT_CONFIG_IRQ") { swv_vduse_plain(raw, SWV_VDUSE_DEV_INJECT_CONFIG_IRQ) }
    }

    /// Says how large a queue can be (VDUSE_VQ_SETUP): before the device is attached.
    public func setUpQueue(_ index: Int, largest: UInt16) throws(SystemError) {
        var queue = swv_vduse_queue()
        (queue.index, queue.largest) = (UInt32(clamping: index), largest)
        try unsafe structure("VDUSE_VQ_SETUP", SWV_VDUSE_VQ_SETUP, &queue)
    }

    /// What the driver has set up for a queue (VDUSE_VQ_GET_INFO). The used index of a split ring is not in it and comes as 0.
    public func queueInfo(_ index: Int, _ format: RingFormat) throws(SystemError) -> QueueInfo {
        var info = swv_vduse_queue_info()
        info.index = UInt32(clamping: index)
        try unsafe structure("VDUSE_VQ_GET_INFO", SWV_VDUSE_VQ_GET_INFO, &info)
        let state = info.state
        let position =
            switch format {
            case .split: QueuePosition(available: state.0, used: 0)
            case .packed: QueuePosition(available: state.1, availableWrap: state.0 & 1 == 1, used: state.3, usedWrap: state.2 & 1 == 1)
            }
        return QueueInfo(
            size: info.size, descriptorArea: info.descriptor_area, driverArea: info.driver_area, deviceArea: info.device_area,
            position: position, isReady: info.ready != 0)
    }

    /// The event that is signalled when the driver has made buffers available (VDUSE_VQ_SETUP_KICKFD); nil: none.
    public func setKick(_ index: Int, _ event: EventFD?) throws(SystemError) {
        var kick = swv_vduse_kick(index: UInt32(clamping: index), fd: event?.rawValue ?? -1)
        try unsafe structure("VDUSE_VQ_SETUP_KICKFD", SWV_VDUSE_VQ_SETUP_KICKFD, &kick)
    }

    /// Tells the driver that a queue has used buffers (VDUSE_VQ_INJECT_IRQ).
    public func injectInterrupt(_ index: Int) throws(SystemError) {
        var number = UInt32(clamping: index)
        try unsafe structure("VDUSE_VQ_INJECT_IRQ", SWV_VDUSE_VQ_INJECT_IRQ, &number)
    }

    /// The first stretch of the driver's memory that has an address from `first` on, and its file (VDUSE_IOTLB_GET_FD); nil when there is none.
    public func mapping(from first: UInt64) throws(SystemError) -> (mapping: Mapping, file: Slot<OwnedDescriptor>)? {
        var entry = swv_vduse_entry()
        (entry.first, entry.last) = (first, .max)
        let raw = descriptor.rawValue
        let file: Int32
        do throws(SystemError) {
            file = try retryingOnInterrupt("VDUSE_IOTLB_GET_FD") { unsafe swv_vduse_structure(raw, SWV_VDUSE_IOTLB_GET_FD, &entry) }
        } catch {
            // The kernel's answer to addresses behind the last mapping, and before there is a driver.
            if error.errno == .invalidArgument || error.errno == .notPermitted { return nil }
            throw error
        }
        let mapping = Mapping(
            first: entry.first, last: entry.last, offset: entry.offset, isReadable: entry.permission & 1 != 0,
            isWritable: entry.permission & 2 != 0)
        return (mapping, Slot(OwnedDescriptor(owning: file)))
    }

    private func structure(_ name: StaticString, _ call: swv_vduse_call, _ argument: UnsafeMutableRawPointer) throws(SystemError) {
        let raw = descriptor.rawValue
        _ = try retryingOnInterrupt(name) { unsafe swv_vduse_structure(raw, call, argument) }
    }
}
