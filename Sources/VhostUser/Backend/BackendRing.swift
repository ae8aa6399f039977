import Host
import Virtio
import Virtqueue

/// What a front-end has said about one queue, and whether the device has it (vhost-user, Ring states).
struct BackendRing {
    /// The largest size that the device allows.
    let maxSize: UInt16
    var size: UInt16
    /// Where the parts lie, in the front-end's addresses; nil until it says so.
    var addresses: RingAddresses?
    /// Where the queue is to begin, as the message had it; nil when it stands where it was stopped.
    var base: UInt32?
    /// Where the queue was stopped.
    var position: QueuePosition?
    /// Set by SET_VRING_KICK, which starts the ring, and gone with GET_VRING_BASE, which stops it.
    var kick: EventFD?
    /// Started, whether or not a doorbell came along.
    var isStarted = false
    var isEnabled = false
    /// The device has the queue.
    var isRunning = false

    init(maxSize: UInt16) {
        self.maxSize = maxSize
        size = maxSize
    }
}
