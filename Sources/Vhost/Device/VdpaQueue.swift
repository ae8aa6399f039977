import GuestMemory
import Host
import Virtio
import Virtqueue

/// A queue that the kernel's device has, or shall have.
struct VdpaQueue: Sendable {
    let configuration: QueueConfiguration
    /// Where it stood when it was given away.
    var position: QueuePosition
    let kick: EventFD

    init(_ queue: borrowing ActiveQueue) {
        configuration = queue.ring.configuration
        position = queue.ring.position
        kick = queue.kick
    }

    /// The queue as one of ours, where it stands now.
    func active(_ index: Int, _ features: Features, _ memory: GuestMemory) throws(VdpaError) -> ActiveQueue {
        do throws(QueueFault) {
            let ring = try GuestQueue(configuration, features: features.ring, position: position, memory: memory)
            return ActiveQueue(index: index, ring: ring, kick: kick)
        } catch {
            throw VdpaError(.other, "Queue \(index) stands where it cannot (\(error)).")
        }
    }

    /// Whether the device has nothing left to do: nothing in flight, nothing available. A driver that breaks the rules is waited for by nobody.
    func isDone(_ features: Features, _ memory: GuestMemory) throws(VdpaError) -> Bool {
        let queue = try active(0, features, memory)
        guard queue.ring.inFlight == 0 else { return false }
        do throws(QueueFault) { return try !queue.ring.hasAvailable() } catch { return true }
    }

    /// How many used entries a split ring has; for packed rings it means nothing.
    func usedIndex(_ memory: GuestMemory) -> UInt16 { memory.load(at: configuration.deviceArea &+ 2) ?? 0 }
}
