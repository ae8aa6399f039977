import Host

/// One step of a request that the host's kernel does. Offsets and counts are in bytes.
enum BlockOperation {
    /// Read into what is left of the chain's writable part.
    case read(at: UInt64)
    /// Write what is left of the chain's readable part.
    case write(at: UInt64)
    /// Write zeros, as many of `count` as one step does.
    case writeZeros(at: UInt64, count: UInt64)
    /// Make the storage of a range go away or read as zeros.
    case allocate(AllocationMode, at: UInt64, count: UInt64)
    /// Tell a block device that a range is not needed.
    case discardBlocks(at: UInt64, count: UInt64)
    /// Bring completed writes to the storage.
    case synchronize
}

/// The `status` byte of a request (virtio 1.3, 5.2.6).
enum BlockStatus: UInt8 {
    /// VIRTIO_BLK_S_OK.
    case ok = 0
    /// VIRTIO_BLK_S_IOERR: the device or the driver made an error.
    case ioError = 1
    /// VIRTIO_BLK_S_UNSUPP: the device does not know or do this.
    case unsupported = 2
}
