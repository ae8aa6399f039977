import GuestMemory
import Host
import Synchronization
import Virtio
import Virtqueue

@testable import Vhost

/// The kernel's side of VDUSE, and the driver behind it, played by a test.
final class FakeVDUSE: VDUSEKernel {
    struct Answer: Equatable {
        let succeeded: Bool
        let position: QueuePosition?
    }

    struct State {
        var requests: [VDUSENode.Request] = []
        var nextID: UInt32 = 1
        var answers: [UInt32: Answer] = [:]
        var features: UInt64 = 0
        var queues: [VDUSENode.QueueInfo] = []
        var kicks: [EventFD?] = []
        /// With the descriptor of the file.
        var mappings: [(mapping: VDUSENode.Mapping, file: Int32)] = []
        var spaces: [[UInt8]] = []
    }

    let state = Mutex(State())
    private let pending: EventFD
    private let answered: EventFD
    /// Signalled for used buffers of the first queue.
    let interrupt: EventFD

    init() throws { (pending, answered, interrupt) = (try EventFD(), try EventFD(), try EventFD()) }

    /// Asks the device, and waits for what it says; nil: nothing in time.
    func ask(_ kind: VDUSENode.Request.Kind) -> Answer? {
        let id = state.withLock { state in
            defer { state.nextID += 1 }
            state.requests.append(VDUSENode.Request(id: state.nextID, kind: kind))
            return state.nextID
        }
        pending.signal()
        let deadline = MonotonicTime.now + 60_000
        while MonotonicTime.now < deadline {
            if let answer = state.withLock({ $0.answers.removeValue(forKey: id) }) { return answer }
            _ = answered.wait(timeoutMilliseconds: 1000)
        }
        return nil
    }

    func change(_ body: (inout State) -> Void) { state.withLock { body(&$0) } }

    /// The driver's doorbell.
    func ring(_ queue: Int) { state.withLock { $0.kicks.indices.contains(queue) ? $0.kicks[queue] : nil }?.signal() }

    // MARK: What the device asks

    var rawValue: Int32 { pending.rawValue }

    func nextRequest() throws(SystemError) -> VDUSENode.Request? {
        pending.drain()
        return state.withLock { $0.requests.isEmpty ? nil : $0.requests.removeFirst() }
    }

    func answer(
        _ request: VDUSENode.Request, succeeded: Bool, position: QueuePosition?, _ format: RingFormat
    ) throws(SystemError) {
        state.withLock { $0.answers[request.id] = Answer(succeeded: succeeded, position: position) }
        answered.signal()
    }

    func negotiatedFeatures() throws(SystemError) -> UInt64 { state.withLock { $0.features } }
    func setConfiguration(_ bytes: [UInt8]) throws(SystemError) { state.withLock { $0.spaces.append(bytes) } }

    func queueInfo(_ index: Int, _ format: RingFormat) throws(SystemError) -> VDUSENode.QueueInfo {
        guard let info = state.withLock({ $0.queues.indices.contains(index) ? $0.queues[index] : nil }) else {
            throw SystemError("VDUSE_VQ_GET_INFO", .invalidArgument)
        }
        return info
    }

    func setKick(_ index: Int, _ event: EventFD?) throws(SystemError) {
        state.withLock { state in
            while state.kicks.count <= index { state.kicks.append(nil) }
            state.kicks[index] = event
        }
    }

    func injectInterrupt(_ index: Int) throws(SystemError) { if index == 0 { interrupt.signal() } }

    func mapping(from first: UInt64) throws(SystemError) -> (mapping: VDUSENode.Mapping, file: Slot<OwnedDescriptor>)? {
        let found = state.withLock { state in
            state.mappings.filter { $0.mapping.last >= first }.min { $0.mapping.first < $1.mapping.first }
        }
        guard let found else { return nil }
        return (found.mapping, Slot(try OwnedDescriptor.duplicating(inherited: found.file)))
    }
}
