import Virtio

/// What a console has moved.
final class ConsoleCounters: CounterBlock {
    let bytesIn = Counter()
    let bytesOut = Counter()
    let padding = CounterPadding()

    var values: [String: UInt64] { ["bytesIn": bytesIn.value, "bytesOut": bytesOut.value] }
}

extension ConsoleDevice {
    /// Bytes in both directions; Docs/devices.md explains each name.
    public var counters: [String: UInt64] { counterBlock.values }
}
