import Host
import Synchronization
import Virtio
public import Virtqueue

/// Any transport of the host as a guest's driver knows its own (`DriverTransport`), so that the same driver, on the same `VirtQueue`s, works in
/// a guest and on the host.
///
/// The transport has negotiated when it was made: the driver has to accept exactly that. Queues are handed over together, with DRIVER_OK,
/// and are taken back together, by a reset.
public final class TransportLink: DriverTransport, Sendable {
    private struct State: Sendable {
        var status: UInt8 = 0
        var accepted: UInt64?
        var queues: [UInt16: QueueConfiguration] = [:]
        var notifiers: [SubmissionNotifier] = []
        var failure: DriverError?
    }

    private enum Bit {
        static let driverOK: UInt8 = 4
        static let featuresOK: UInt8 = 8
        static let needsReset: UInt8 = 64
    }

    private let transport: any VirtioTransport
    private let largest: UInt16
    private let state = Mutex(State())

    /// A link to the device of a transport whose queues are not set up. `largestQueue` is the size of queues where the transport does not tell.
    public init(_ transport: any VirtioTransport, largestQueue: UInt16 = 256) {
        self.transport = transport
        largest = largestQueue
    }

    /// The last error of the transport, for which the interface of a guest's driver has no place.
    public var failure: DriverError? { state.withLock { $0.failure } }

    /// 0 where the transport does not tell.
    public var deviceType: UInt16 { transport.deviceType?.rawValue ?? 0 }
    /// What was negotiated.
    public var deviceFeatures: UInt64 { transport.features.rawValue }

    /// Notes what the driver accepts.
    public func setDriverFeatures(_ features: UInt64) { state.withLock { $0.accepted = features } }

    /// The status, as far as the driver has written it; FEATURES_OK only sticks for what was negotiated.
    public var status: UInt8 {
        get {
            let status = state.withLock { $0.status }
            do throws(DriverError) { try transport.checkDevice() } catch {
                note(error)
                return status | Bit.needsReset
            }
            return status
        }
        set {
            guard newValue != 0 else { return reset() }
            let queues = state.withLock { state -> [QueueConfiguration]? in
                var wanted = newValue
                if state.accepted != transport.features.rawValue { wanted &= ~Bit.featuresOK }
                let isStarting = wanted & Bit.driverOK != 0 && state.status & Bit.driverOK == 0
                state.status = wanted
                return isStarting ? (0..<UInt16(truncatingIfNeeded: state.queues.count)).compactMap { state.queues[$0] } : nil
            }
            if let queues { start(queues) }
        }
    }

    private func start(_ queues: [QueueConfiguration]) {
        do throws(DriverError) {
            try transport.setUpQueues(queues)
            var notifiers: [SubmissionNotifier] = []
            for index in queues.indices { notifiers.append(try transport.submissionNotifier(index)) }
            let made = notifiers
            state.withLock { $0.notifiers = made }
        } catch {
            note(error)
            state.withLock { $0.status |= Bit.needsReset }
        }
    }

    private func reset() {
        do throws(DriverError) { try transport.reset() } catch { note(error) }
        state.withLock { state in
            state.status = 0
            state.accepted = nil
            state.queues = [:]
            state.notifiers = []
        }
    }

    private func note(_ error: DriverError) { state.withLock { $0.failure = error } }

    /// As the transport says.
    public func maxQueueSize(_ queue: UInt16) -> UInt16 {
        if let count = transport.maxQueues, Int(queue) >= count { return 0 }
        do throws(DriverError) { return try transport.maxQueueSize(Int(queue)) ?? largest } catch { return 0 }
    }

    /// Whether the queue was handed over.
    public func isQueueUsed(_ queue: UInt16) -> Bool { state.withLock { $0.queues[queue] != nil } }

    /// Keeps the queue until DRIVER_OK.
    public func setQueue(_ queue: UInt16, _ configuration: QueueConfiguration) -> Bool {
        state.withLock { state in
            guard state.queues[queue] == nil, state.status & Bit.driverOK == 0 else { return false }
            state.queues[queue] = configuration
            return true
        }
    }

    /// Resets the device, unless it was not started or was reset before.
    public func unsetQueue(_ queue: UInt16) {
        let isStarted = state.withLock { state in
            if state.status & Bit.driverOK == 0 { state.queues[queue] = nil }
            return state.status & Bit.driverOK != 0
        }
        if isStarted { reset() }
    }

    /// Sends a notification.
    public func notify(_ queue: UInt16) {
        state.withLock { state in
            if state.notifiers.indices.contains(Int(queue)) { state.notifiers[Int(queue)].notify() }
        }
    }

    /// Reads a field; zero when the device cannot be asked.
    public func configuration<T: FixedWidthInteger>(at offset: Int, as type: T.Type) -> T {
        do throws(DriverError) {
            return ConfigurationFields(try transport.readConfiguration(at: offset, count: MemoryLayout<T>.size)).integer(at: 0)
        } catch {
            note(error)
            return 0
        }
    }

    /// Writes a field.
    public func setConfiguration<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        let bytes = (0..<MemoryLayout<T>.size).map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
        do throws(DriverError) { try transport.writeConfiguration(bytes, at: offset) } catch { note(error) }
    }

    /// One read of the transport sees one generation.
    public var configurationGeneration: UInt32 { 0 }

    /// Events take the place of the register.
    public func acknowledgeInterrupt() -> UInt8 { transport.changeEvent.drain() ? 2 : 0 }
}
