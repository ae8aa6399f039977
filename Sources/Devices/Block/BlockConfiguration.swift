public import Host
public import Virtio

/// What a block device is made of: typed values and open descriptors, which become the device's own.
public struct BlockConfiguration: ~Copyable, Sendable {
    /// The image, opened for reading, and for writing unless `readOnly`. Without O_DIRECT.
    public var image: OwnedDescriptor
    /// The same image, opened again with O_DIRECT; nil goes through the page cache. What O_DIRECT cannot do (buffers or offsets that are not
    /// aligned) goes through `image` instead: the kernel keeps both views of a file coherent.
    public var directImage: OwnedDescriptor?
    /// The name for log lines and threads: the device's id.
    public var label: String
    /// Whether writes are refused (VIRTIO_BLK_F_RO).
    public var readOnly = false
    /// The answer to VIRTIO_BLK_T_GET_ID: up to 20 bytes of ASCII.
    public var serial = ""
    /// The number of queues, 1…16; more than one needs VIRTIO_BLK_F_MQ.
    public var queues = 1
    /// The number of worker threads, at most one per queue; nil is one per queue.
    public var workers: Int?
    /// The size of each queue, 2…1024, a power of two.
    public var queueSize: UInt16 = 256
    /// The logical block size that the driver sees, in bytes: 512 or 4096.
    public var blockSize = 512
    /// Whether the disk begins with a volatile write cache (the host's page cache), which the driver flushes.
    public var writeback = true
    /// Whether discard requests give storage back where the host can.
    public var discard = true
    /// Whether packed rings are offered.
    public var packedRing = false
    /// A descriptor whose file stays open until none of the device's I/O is under way any more, however its process ends: a pipe's, say, so
    /// that the other end tells.
    public var witness: Int32?
    /// How requests reach the image.
    public var engine = BlockSettings.Engine.auto
    /// For how long a worker that has nothing to do looks for more by itself before it sleeps, at most, in nanoseconds; it adapts to what comes.
    /// 0: not at all.
    public var pollNanoseconds: UInt64 = 0
    /// The transport that the configuration asks for.
    public var transport: TransportKind?
    /// Position in the boot order.
    public var bootOrder: UInt?

    /// A writable disk with one queue; change what else is wanted.
    public init(image: consuming OwnedDescriptor, label: String) {
        self.image = image
        self.label = label
    }
}
