public import Host

/// The kernel's side of a vDPA device: the requests of `/dev/vhost-vdpa-N`, one function each.
///
/// `VdpaNode` is the kernel itself. Tests have another one, which enforces the same rules where there is no such node.
public protocol VdpaKernel: AnyObject, Sendable {
    /// VHOST_SET_OWNER.
    func setOwner() throws(SystemError)
    /// VHOST_VDPA_GET_DEVICE_ID.
    func deviceID() throws(SystemError) -> UInt32
    /// VHOST_VDPA_GET_STATUS.
    func status() throws(SystemError) -> UInt8
    /// VHOST_VDPA_SET_STATUS.
    func setStatus(_ status: UInt8) throws(SystemError)
    /// VHOST_GET_FEATURES.
    func features() throws(SystemError) -> UInt64
    /// VHOST_SET_FEATURES.
    func setFeatures(_ features: UInt64) throws(SystemError)
    /// VHOST_GET_BACKEND_FEATURES.
    func backendFeatures() throws(SystemError) -> UInt64
    /// VHOST_SET_BACKEND_FEATURES.
    func setBackendFeatures(_ features: UInt64) throws(SystemError)
    /// VHOST_VDPA_SUSPEND.
    func suspend() throws(SystemError)
    /// VHOST_VDPA_RESUME.
    func resume() throws(SystemError)
    /// VHOST_VDPA_GET_CONFIG_SIZE.
    func configurationSize() throws(SystemError) -> UInt32
    /// VHOST_VDPA_GET_CONFIG.
    func configuration(at offset: UInt32, count: Int) throws(SystemError) -> [UInt8]
    /// VHOST_VDPA_SET_CONFIG.
    func setConfiguration(_ bytes: [UInt8], at offset: UInt32) throws(SystemError)
    /// VHOST_VDPA_SET_CONFIG_CALL.
    func setConfigurationCall(_ event: EventFD?) throws(SystemError)
    /// VHOST_VDPA_GET_VQS_COUNT.
    func queueCount() throws(SystemError) -> UInt32
    /// VHOST_VDPA_GET_VRING_NUM.
    func largestQueueSize() throws(SystemError) -> UInt16
    /// VHOST_SET_VRING_NUM.
    func setQueueSize(_ index: UInt32, _ size: UInt32) throws(SystemError)
    /// VHOST_SET_VRING_ADDR.
    func setQueueAddresses(_ index: UInt32, descriptorArea: UInt64, driverArea: UInt64, deviceArea: UInt64) throws(SystemError)
    /// VHOST_SET_VRING_BASE.
    func setQueueBase(_ index: UInt32, _ base: UInt32) throws(SystemError)
    /// VHOST_GET_VRING_BASE.
    func queueBase(_ index: UInt32) throws(SystemError) -> UInt32
    /// VHOST_SET_VRING_KICK.
    func setQueueKick(_ index: UInt32, _ event: EventFD?) throws(SystemError)
    /// VHOST_SET_VRING_CALL.
    func setQueueCall(_ index: UInt32, _ event: EventFD?) throws(SystemError)
    /// VHOST_SET_VRING_ERR.
    func setQueueError(_ index: UInt32, _ event: EventFD?) throws(SystemError)
    /// VHOST_VDPA_SET_VRING_ENABLE.
    func setQueueEnabled(_ index: UInt32, _ isEnabled: Bool) throws(SystemError)
    /// VHOST_VDPA_GET_IOVA_RANGE.
    func addressRange() throws(SystemError) -> (first: UInt64, last: UInt64)
    /// VHOST_VDPA_GET_GROUP_NUM.
    func groupCount() throws(SystemError) -> UInt32
    /// VHOST_VDPA_GET_AS_NUM.
    func addressSpaceCount() throws(SystemError) -> UInt32
    /// VHOST_VDPA_GET_VRING_GROUP.
    func queueGroup(_ index: UInt32) throws(SystemError) -> UInt32
    /// VHOST_VDPA_SET_GROUP_ASID.
    func setGroupAddressSpace(_ group: UInt32, _ addressSpace: UInt32) throws(SystemError)
    /// A message to the I/O page table; `addressSpace` nil: in the form that knows no address spaces.
    func send(_ message: VdpaNode.TableMessage, addressSpace: UInt32?) throws(SystemError)
}

extension VdpaNode: VdpaKernel {}
