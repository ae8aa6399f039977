/// Which frames the driver wants (virtio 1.3, 5.1.6.5.1 and 5.1.6.5.2).
///
/// After a reset everything passes: a driver that never says what it wants, or cannot, must get its frames.
struct ReceiveFilter: Sendable, Equatable {
    /// Everything passes.
    var promiscuous = true
    /// All group addresses pass.
    var allMulticast = false
    /// Further addresses of the driver's own.
    var unicast: [MACAddress] = []
    /// Group addresses that the driver listens to.
    var multicast: [MACAddress] = []

    /// Most addresses of either kind that are compared one by one; with more, all of that kind pass, as the specification allows.
    static let maxEntries = 64

    /// Whether a frame to `destination` passes when the device's address is `own`.
    func accepts(_ destination: MACAddress, own: MACAddress) -> Bool {
        if promiscuous || destination == own || destination == .broadcast { return true }
        if destination.isMulticast { return allMulticast || multicast.count > Self.maxEntries || multicast.contains(destination) }
        return unicast.count > Self.maxEntries || unicast.contains(destination)
    }
}
