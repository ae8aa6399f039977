import Host
import Synchronization
import Virtqueue

@testable import Vhost

/// A vDPA device in a kernel that enforces what Linux does (drivers/vhost/vdpa.c, drivers/vhost/vhost.c), and notes what it is asked.
final class FakeKernel: VdpaKernel {
    struct Queue: Equatable {
        var size: UInt32 = 0
        var descriptorArea: UInt64 = 0
        var driverArea: UInt64 = 0
        var deviceArea: UInt64 = 0
        var base: UInt32 = 0
        var kick: Int32?
        var call: Int32?
        var error: Int32?
        var isEnabled = false
    }

    struct Mapping: Equatable {
        let first: UInt64
        let last: UInt64
        let addressSpace: UInt32
    }

    struct State {
        // What it is.
        var type: UInt32 = 2
        var features: UInt64 = 1 << 32 | 1 << 33 | 1 << 28 | 1 << 29
        var backend: BackendFeatures = [.tableMessages2, .batches]
        var space: [UInt8] = Array(0..<60)
        var largestSize: UInt16 = 128
        var queueTotal = 1
        var addresses: ClosedRange<UInt64> = 0...(.max)
        var addressSpaces: UInt32 = 1
        var lockLimit: UInt64 = .max
        /// Features with which it cannot work although it offers them.
        var rejected: UInt64 = 0
        /// Requests that fail, by name.
        var failures: [String: Errno] = [:]
        /// It keeps its status when it is told to reset.
        var cannotReset = false

        // What it was told.
        var isOwned = false
        var agreed: BackendFeatures?
        var status: UInt8 = 0
        var negotiated: UInt64?
        var queues: [Queue] = []
        var mappings: [Mapping] = []
        var pending: [Mapping]?
        var configurationCall: Int32?
        var isSuspended = false
        var groups: [UInt32: UInt32] = [:]
        var calls: [String] = []
    }

    let state: Mutex<State>

    init(_ change: (inout State) -> Void = { _ in }) {
        var state = State()
        change(&state)
        state.queues = Array(repeating: Queue(), count: state.queueTotal)
        self.state = Mutex(state)
    }

    func change(_ body: (inout State) -> Void) { state.withLock { body(&$0) } }
    func look<T: Sendable>(_ path: (borrowing State) -> T) -> T { state.withLock { path($0) } }

    private func ask<T: Sendable>(_ name: String, owned: Bool = false, _ body: (inout State) -> Result<T, Errno>) throws(SystemError) -> T {
        let result = state.withLock { state -> Result<T, Errno> in
            state.calls.append(name)
            if let failure = state.failures[name] { return .failure(failure) }
            // What falls through to the generic part of vhost needs an owner.
            if owned, !state.isOwned { return .failure(.notPermitted) }
            return body(&state)
        }
        switch result {
        case .success(let value): return value
        case .failure(let errno): throw SystemError(name, errno)
        }
    }

    private func ring(_ name: String, _ index: UInt32, owned: Bool = true, _ body: (inout State, Int) -> Errno?) throws(SystemError) {
        try ask(name, owned: owned) { state -> Result<Void, Errno> in
            guard let index = Int(exactly: index), index < state.queues.count else { return .failure(.noBuffers) }
            return body(&state, index).map { .failure($0) } ?? .success(())
        }
    }

    func setOwner() throws(SystemError) {
        try ask("SET_OWNER") { state -> Result<Void, Errno> in
            guard !state.isOwned else { return .failure(.busy) }
            state.isOwned = true
            return .success(())
        }
    }

    func deviceID() throws(SystemError) -> UInt32 { try ask("GET_DEVICE_ID") { .success($0.type) } }
    func status() throws(SystemError) -> UInt8 { try ask("GET_STATUS") { .success($0.status) } }

    func setStatus(_ status: UInt8) throws(SystemError) {
        try ask("SET_STATUS \(status)") { state -> Result<Void, Errno> in
            guard status == 0 || state.status & ~status == 0 else { return .failure(.invalidArgument) }
            if status == 0 {
                guard !state.cannotReset else { return .success(()) }
                (state.status, state.negotiated, state.isSuspended) = (0, nil, false)
                // The events are vhost's, the rest the device's.
                for index in state.queues.indices {
                    state.queues[index] = Queue(
                        kick: state.queues[index].kick, call: state.queues[index].call, error: state.queues[index].error)
                }
                return .success(())
            }
            var new = status
            if status & 8 != 0, (state.negotiated ?? 0) & state.rejected != 0 || (state.negotiated ?? 0) & 1 << 33 == 0 { new &= ~8 }
            state.status = new
            return .success(())
        }
    }

    func features() throws(SystemError) -> UInt64 { try ask("GET_FEATURES") { .success($0.features) } }

    func setFeatures(_ features: UInt64) throws(SystemError) {
        try ask("SET_FEATURES") { state -> Result<Void, Errno> in
            guard state.status & 8 == 0 else { return .failure(.busy) }
            guard features & ~state.features == 0 else { return .failure(.invalidArgument) }
            state.negotiated = features
            return .success(())
        }
    }

    func backendFeatures() throws(SystemError) -> UInt64 { try ask("GET_BACKEND_FEATURES") { .success($0.backend.rawValue) } }

    func setBackendFeatures(_ features: UInt64) throws(SystemError) {
        try ask("SET_BACKEND_FEATURES") { state -> Result<Void, Errno> in
            let wanted = BackendFeatures(rawValue: features)
            guard wanted.isSubset(of: state.backend) else { return .failure(.notSupported) }
            if wanted.contains(.addressSpaces), !wanted.contains(.tableMessages2) { return .failure(.invalidArgument) }
            state.agreed = wanted
            return .success(())
        }
    }

    func suspend() throws(SystemError) {
        try ask("SUSPEND") { state -> Result<Void, Errno> in
            guard state.backend.contains(.suspend) else { return .failure(.notSupported) }
            state.isSuspended = state.status & 4 != 0
            return .success(())
        }
    }

    func resume() throws(SystemError) {
        try ask("RESUME") { state -> Result<Void, Errno> in
            guard state.backend.contains(.resume) else { return .failure(.notSupported) }
            state.isSuspended = false
            return .success(())
        }
    }

    func configurationSize() throws(SystemError) -> UInt32 { try ask("GET_CONFIG_SIZE") { .success(UInt32($0.space.count)) } }

    func configuration(at offset: UInt32, count: Int) throws(SystemError) -> [UInt8] {
        try ask("GET_CONFIG") { state in
            guard count > 0, Int(offset) <= state.space.count else { return .failure(.invalidArgument) }
            guard count <= state.space.count - Int(offset) else { return .failure(.tooBig) }
            return .success(Array(state.space[Int(offset)..<(Int(offset) + count)]))
        }
    }

    func setConfiguration(_ bytes: [UInt8], at offset: UInt32) throws(SystemError) {
        try ask("SET_CONFIG") { state -> Result<Void, Errno> in
            guard !bytes.isEmpty, Int(offset) <= state.space.count else { return .failure(.invalidArgument) }
            guard bytes.count <= state.space.count - Int(offset) else { return .failure(.tooBig) }
            state.space.replaceSubrange(Int(offset)..<(Int(offset) + bytes.count), with: bytes)
            return .success(())
        }
    }

    func setConfigurationCall(_ event: EventFD?) throws(SystemError) {
        let raw = event?.rawValue
        try ask("SET_CONFIG_CALL") { state -> Result<Void, Errno> in
            state.configurationCall = raw
            return .success(())
        }
    }

    func queueCount() throws(SystemError) -> UInt32 { try ask("GET_VQS_COUNT") { .success(UInt32($0.queues.count)) } }
    func largestQueueSize() throws(SystemError) -> UInt16 { try ask("GET_VRING_NUM") { .success($0.largestSize) } }

    func setQueueSize(_ index: UInt32, _ size: UInt32) throws(SystemError) {
        try ring("SET_VRING_NUM", index) { state, index in
            guard size > 0, size <= 0xffff, size & (size - 1) == 0 else { return .invalidArgument }
            guard state.status & 4 == 0 else { return .busy }
            state.queues[index].size = size
            return nil
        }
    }

    func setQueueAddresses(
        _ index: UInt32, descriptorArea: UInt64, driverArea: UInt64, deviceArea: UInt64
    ) throws(SystemError) {
        try ring("SET_VRING_ADDR", index) { state, index in
            guard descriptorArea % 16 == 0, driverArea % 2 == 0, deviceArea % 4 == 0 else { return .invalidArgument }
            state.queues[index].descriptorArea = descriptorArea
            state.queues[index].driverArea = driverArea
            state.queues[index].deviceArea = deviceArea
            return nil
        }
    }

    func setQueueBase(_ index: UInt32, _ base: UInt32) throws(SystemError) {
        try ring("SET_VRING_BASE", index) { state, index in
            let isPacked = (state.negotiated ?? 0) & 1 << 34 != 0
            guard isPacked || base <= 0xffff else { return .invalidArgument }
            state.queues[index].base = base
            return nil
        }
    }

    func queueBase(_ index: UInt32) throws(SystemError) -> UInt32 {
        try ask("GET_VRING_BASE", owned: true) { state in
            guard let index = Int(exactly: index), index < state.queues.count else { return .failure(.noBuffers) }
            return .success(state.queues[index].base)
        }
    }

    func setQueueKick(_ index: UInt32, _ event: EventFD?) throws(SystemError) {
        let raw = event?.rawValue
        try ring("SET_VRING_KICK", index) { state, index in
            state.queues[index].kick = raw
            return nil
        }
    }

    func setQueueCall(_ index: UInt32, _ event: EventFD?) throws(SystemError) {
        let raw = event?.rawValue
        try ring("SET_VRING_CALL", index) { state, index in
            state.queues[index].call = raw
            return nil
        }
    }

    func setQueueError(_ index: UInt32, _ event: EventFD?) throws(SystemError) {
        let raw = event?.rawValue
        try ring("SET_VRING_ERR", index) { state, index in
            state.queues[index].error = raw
            return nil
        }
    }

    func setQueueEnabled(_ index: UInt32, _ isEnabled: Bool) throws(SystemError) {
        try ring("SET_VRING_ENABLE", index, owned: false) { state, index in
            let isLate = state.status & 4 != 0
            guard !isLate || state.agreed?.contains(.enableWhileRunning) == true else { return .notSupported }
            state.queues[index].isEnabled = isEnabled
            return nil
        }
    }

    func addressRange() throws(SystemError) -> (first: UInt64, last: UInt64) {
        let range = try ask("GET_IOVA_RANGE") { .success($0.addresses) }
        return (range.lowerBound, range.upperBound)
    }

    func groupCount() throws(SystemError) -> UInt32 { try ask("GET_GROUP_NUM") { .success($0.addressSpaces) } }
    func addressSpaceCount() throws(SystemError) -> UInt32 { try ask("GET_AS_NUM") { .success($0.addressSpaces) } }

    func queueGroup(_ index: UInt32) throws(SystemError) -> UInt32 {
        try ask("GET_VRING_GROUP") { state in
            guard Int(index) < state.queues.count else { return .failure(.noBuffers) }
            return .success(min(index, state.addressSpaces - 1))
        }
    }

    func setGroupAddressSpace(_ group: UInt32, _ addressSpace: UInt32) throws(SystemError) {
        try ask("SET_GROUP_ASID") { state -> Result<Void, Errno> in
            guard group < state.addressSpaces, addressSpace < state.addressSpaces else { return .failure(.invalidArgument) }
            guard state.status & 4 == 0 else { return .failure(.busy) }
            state.groups[group] = addressSpace
            return .success(())
        }
    }

    func send(_ message: VdpaNode.TableMessage, addressSpace: UInt32?) throws(SystemError) {
        let name =
            switch message {
            case .map: "MAP"
            case .unmap: "UNMAP"
            case .beginBatch: "BATCH_BEGIN"
            case .endBatch: "BATCH_END"
            }
        try ask(name, owned: true) { state -> Result<Void, Errno> in
            if addressSpace != nil, state.agreed?.contains(.tableMessages2) != true { return .failure(.invalidArgument) }
            let space = addressSpace ?? 0
            guard space < state.addressSpaces else { return .failure(.invalidArgument) }
            switch message {
            case .map(let address, let range, let reads, let writes):
                let size = UInt64(range.count)
                guard size > 0, reads || writes, state.addresses.contains(address), state.addresses.contains(address &+ (size - 1)) else {
                    return .failure(.invalidArgument)
                }
                let new = Mapping(first: address, last: address &+ (size - 1), addressSpace: space)
                guard !state.mappings.contains(where: { $0.addressSpace == space && $0.first <= new.last && new.first <= $0.last }) else {
                    return .failure(.exists)
                }
                let locked = state.mappings.reduce(size) { $0 + ($1.last - $1.first + 1) }
                guard locked <= state.lockLimit else { return .failure(.noMemory) }
                state.mappings.append(new)
            case .unmap(let address, let size):
                guard size > 0 else { return .failure(.invalidArgument) }
                state.mappings.removeAll { $0.addressSpace == space && $0.first <= address &+ (size - 1) && address <= $0.last }
            case .beginBatch:
                guard state.agreed?.contains(.batches) == true, state.pending == nil else { return .failure(.invalidArgument) }
                state.pending = state.mappings
            case .endBatch:
                guard state.pending != nil else { return .failure(.invalidArgument) }
                state.pending = nil
            }
            return .success(())
        }
    }
}
