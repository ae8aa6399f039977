import Virtio

/// What an entropy device has given.
final class EntropyCounters: CounterBlock {
    let requests = Counter()
    let bytes = Counter()
    let padding = CounterPadding()

    var values: [String: UInt64] { ["requests": requests.value, "bytes": bytes.value] }
}

extension EntropyDevice {
    /// Requests and bytes; Docs/devices.md explains each name.
    public var counters: [String: UInt64] { counterBlock.values }
}
