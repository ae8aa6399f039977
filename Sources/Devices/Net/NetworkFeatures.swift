public import Virtio

/// Feature bits of the network device (virtio 1.3, 5.1.3).
extension Features {
    /// VIRTIO_NET_F_CSUM (0): the device takes packets whose checksum is still to be computed.
    public static let netChecksum = Features(bit: 0)
    /// VIRTIO_NET_F_GUEST_CSUM (1): the driver takes packets whose checksum is still to be computed.
    public static let netGuestChecksum = Features(bit: 1)
    /// VIRTIO_NET_F_CTRL_GUEST_OFFLOADS (2): the driver switches receive offloads while the device runs.
    public static let netControlGuestOffloads = Features(bit: 2)
    /// VIRTIO_NET_F_MTU (3): the configuration space has an MTU.
    public static let netMTU = Features(bit: 3)
    /// VIRTIO_NET_F_MAC (5): the configuration space has a MAC address.
    public static let netMAC = Features(bit: 5)
    /// VIRTIO_NET_F_GUEST_TSO4 (7): the driver takes TCP over IPv4 that is still to be segmented.
    public static let netGuestTSO4 = Features(bit: 7)
    /// VIRTIO_NET_F_GUEST_TSO6 (8): the driver takes TCP over IPv6 that is still to be segmented.
    public static let netGuestTSO6 = Features(bit: 8)
    /// VIRTIO_NET_F_GUEST_ECN (9): such packets may have ECN bits.
    public static let netGuestECN = Features(bit: 9)
    /// VIRTIO_NET_F_GUEST_UFO (10): the driver takes UDP that is still to be fragmented.
    public static let netGuestUFO = Features(bit: 10)
    /// VIRTIO_NET_F_HOST_TSO4 (11): the device takes TCP over IPv4 that is still to be segmented.
    public static let netHostTSO4 = Features(bit: 11)
    /// VIRTIO_NET_F_HOST_TSO6 (12): the device takes TCP over IPv6 that is still to be segmented.
    public static let netHostTSO6 = Features(bit: 12)
    /// VIRTIO_NET_F_HOST_ECN (13): such packets may have ECN bits.
    public static let netHostECN = Features(bit: 13)
    /// VIRTIO_NET_F_HOST_UFO (14): the device takes UDP that is still to be fragmented.
    public static let netHostUFO = Features(bit: 14)
    /// VIRTIO_NET_F_MRG_RXBUF (15): a received packet may span several buffers.
    public static let netMergeableBuffers = Features(bit: 15)
    /// VIRTIO_NET_F_STATUS (16): the configuration space has a status.
    public static let netStatus = Features(bit: 16)
    /// VIRTIO_NET_F_CTRL_VQ (17): there is a control queue.
    public static let netControlQueue = Features(bit: 17)
    /// VIRTIO_NET_F_CTRL_RX (18): the driver says what it wants to receive.
    public static let netControlReceive = Features(bit: 18)
    /// VIRTIO_NET_F_MQ (22): several queue pairs.
    public static let netMultiQueue = Features(bit: 22)
    /// VIRTIO_NET_F_CTRL_MAC_ADDR (23): the driver sets the MAC address.
    public static let netControlMAC = Features(bit: 23)

    /// All that is said through the control queue, or needs one (virtio 1.3, 5.1.3): what a front-end serves by itself.
    public static let netControl: Features = [
        .netControlGuestOffloads, .netControlQueue, .netControlReceive, Features(bit: 19), Features(bit: 20), Features(bit: 21),
        .netMultiQueue, .netControlMAC, Features(bit: 53), Features(bit: 57), Features(bit: 60),
    ]
    /// What is read in configuration space, or concerns the machine around the device: what a front-end knows, and no back-end.
    public static let netFrontEnd: Features = [.netMTU, .netMAC, .netStatus, Features(bit: 62), Features(bit: 63)]
    /// What concerns packets that the driver receives unfinished: the offloads that it may switch (5.1.6.5.6.1).
    public static let netGuestOffloads: Features = [.netGuestChecksum, .netGuestTSO4, .netGuestTSO6, .netGuestECN, .netGuestUFO]
    /// What concerns packets that the driver sends unfinished.
    public static let netHostOffloads: Features = [.netChecksum, .netHostTSO4, .netHostTSO6, .netHostECN, .netHostUFO]
}

/// Sizes of the network device (virtio 1.3, 5.1.6).
enum NetworkFrame {
    /// struct virtio_net_hdr without VIRTIO_NET_F_HASH_REPORT.
    static let headerSize = 12
    /// The largest frame: 14 bytes of Ethernet, 40 of IPv6 and 65535 of payload (5.1.6.3).
    static let maxSize = 65589
    /// Two addresses and a type.
    static let minSize = 14
    /// Where num_buffers stands in the header.
    static let bufferCountOffset = 10
}
