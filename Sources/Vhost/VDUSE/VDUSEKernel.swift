public import Host
public import Virtqueue

/// The kernel's side of a device that a process offers it: the requests of `/dev/vduse/NAME`, one function each.
///
/// `VDUSENode` is the kernel itself; tests have another one.
public protocol VDUSEKernel: AnyObject, Sendable {
    /// Readable when there is a request.
    var rawValue: Int32 { get }
    /// The next request; nil when there is none.
    func nextRequest() throws(SystemError) -> VDUSENode.Request?
    /// Answers a request.
    func answer(_ request: VDUSENode.Request, succeeded: Bool, position: QueuePosition?, _ format: RingFormat) throws(SystemError)
    /// VDUSE_DEV_GET_FEATURES.
    func negotiatedFeatures() throws(SystemError) -> UInt64
    /// VDUSE_DEV_SET_CONFIG and VDUSE_DEV_INJECT_CONFIG_IRQ.
    func setConfiguration(_ bytes: [UInt8]) throws(SystemError)
    /// VDUSE_VQ_GET_INFO.
    func queueInfo(_ index: Int, _ format: RingFormat) throws(SystemError) -> VDUSENode.QueueInfo
    /// VDUSE_VQ_SETUP_KICKFD.
    func setKick(_ index: Int, _ event: EventFD?) throws(SystemError)
    /// VDUSE_VQ_INJECT_IRQ.
    func injectInterrupt(_ index: Int) throws(SystemError)
    /// VDUSE_IOTLB_GET_FD.
    func mapping(from first: UInt64) throws(SystemError) -> (mapping: VDUSENode.Mapping, file: Slot<OwnedDescriptor>)?
}

extension VDUSENode: VDUSEKernel {}
