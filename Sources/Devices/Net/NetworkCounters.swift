import Virtio

/// What one queue pair of a network device has moved. Bytes are those of frames, without virtio's header.
final class NetworkCounters: CounterBlock {
    let framesReceived = Counter()
    let framesSent = Counter()
    let bytesReceived = Counter()
    let bytesSent = Counter()
    let framesDropped = Counter()
    let padding = CounterPadding()

    var values: [String: UInt64] {
        [
            "framesReceived": framesReceived.value, "framesSent": framesSent.value, "bytesReceived": bytesReceived.value,
            "bytesSent": bytesSent.value, "framesDropped": framesDropped.value,
        ]
    }

    /// Counts a frame that goes to the driver.
    func received(bytes: Int) {
        framesReceived.add()
        bytesReceived.add(UInt64(clamping: bytes))
    }

    /// Counts a chain of the driver, `bytes` long with its header, that the link has taken or lost.
    func sent(bytes: Int, isLost: Bool) {
        if isLost { return framesDropped.add() }
        framesSent.add()
        bytesSent.add(UInt64(clamping: bytes - NetworkFrame.headerSize))
    }
}

extension ReceivedFrame {
    /// The frame's size in bytes.
    var size: Int { placed > 0 ? placed + pending - NetworkFrame.headerSize : pending }
}

extension NetworkDevice {
    /// Frames and bytes of all queue pairs; Docs/devices.md explains each name.
    public var counters: [String: UInt64] { dataPath?.counters ?? counterBlocks.total }
}
