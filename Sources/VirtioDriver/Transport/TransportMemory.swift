import Host
import Synchronization
import Virtqueue

/// The memory of a transport, as far as all transports have the same rules about it. `show` and `hide` do to the device what the book says.
final class TransportMemory: Sendable {
    let book: AddressBook
    /// The most regions; nil is any number.
    let limit: Int?
    private let queues = Mutex<SharedMemory?>(nil)

    init(pools: [ClosedRange<UInt64>], limit: Int?) {
        book = AddressBook(IOVASpace(pools: pools))
        self.limit = limit
    }

    /// Finds a place for `memory`, and shows it to the device.
    func map(_ memory: SharedMemory, show: (IOVASpace.Mapping) throws(DriverError) -> Void) throws(DriverError) -> UInt64 {
        let limit = limit
        let iova = try book.change { (space) throws(DriverError) in
            if let limit, space.mappings.count >= limit { throw .tooManyRegions(limit: limit) }
            return try space.insert(memory)
        }
        do throws(DriverError) {
            try show(IOVASpace.Mapping(iova: iova, memory: memory))
        } catch {
            _ = try? book.change { (space) throws(DriverError) in space.remove(memory) }
            throw error
        }
        return iova
    }

    /// Takes `memory` away from the device.
    func unmap(_ memory: SharedMemory, hide: (IOVASpace.Mapping) throws(DriverError) -> Void) throws(DriverError) {
        let iova = try book.change { (space) throws(DriverError) in
            guard let iova = space.remove(memory) else { throw .notMapped }
            return iova
        }
        try hide(IOVASpace.Mapping(iova: iova, memory: memory))
    }

    /// Makes the memory of the queues.
    func makeQueueMemory(_ byteCount: Int) throws(DriverError) -> SharedMemory {
        try queues.withLock { (queues) throws(DriverError) in
            guard queues == nil else { throw .wrongState("The queues have their memory already.") }
            let memory = try SharedMemory(byteCount: byteCount)
            queues = memory
            return memory
        }
    }

    /// Gives the memory of the queues up; nil when there is none.
    func dropQueueMemory() -> SharedMemory? {
        queues.withLock { queues in
            defer { queues = nil }
            return queues
        }
    }
}

/// The events of queues that were set up.
struct QueueEvents: Sendable {
    let kick: EventFD
    let call: EventFD

    init() throws(DriverError) {
        kick = try hosted("make an event") { () throws(SystemError) in try EventFD() }
        call = try hosted("make an event") { () throws(SystemError) in try EventFD() }
    }
}

extension [QueueEvents] {
    /// Those of a queue that was set up.
    func of(_ queue: Int) throws(DriverError) -> QueueEvents {
        guard indices.contains(queue) else { throw .noSuchQueue(queue) }
        return self[queue]
    }
}
