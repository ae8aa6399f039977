public import GuestMemory
import Host
public import Hypervisor
import Synchronization
public import Virtio

/// A virtio device on the PCI bus (virtio 1.3, 4.1): modern only, MSI-X and INTx. `VirtioPCILayout` says where things are.
public final class VirtioPCIFunction: PCIFunction, HostedDevice {
    struct State {
        var space: PCIConfigurationSpace
        /// Where each of `space.bars` stands in the guest's memory now; nil when decoding is off or its place was taken.
        var mapped: [Range<UInt64>?]
    }

    let transport: VirtioTransport
    let interrupts: VirtioPCIInterrupts
    let registers: VirtioPCIRegisters
    let capabilities: VirtioPCICapabilities
    let state: Mutex<State>
    /// Weak, because it holds this function through its BARs.
    weak let memory: AddressBus?
    private let log: GuestLog

    /// The device behind the function.
    public var device: any VirtioDevice { transport.device }

    /// Puts `device` into a slot (1…31) of `bus`, with BARs placed and memory decoding on: there is no firmware to do it.
    ///
    /// `log` gets one line for each thing that the guest did wrong, thinned out.
    public init(
        device: any VirtioDevice, memory: GuestMemory, bus: PCIBus, slot: Int, doorbells registry: any DoorbellRegistry,
        routing: any InterruptRouting, log sink: @escaping @Sendable (String) -> Void
    ) throws {
        let queueCount = device.queueMaxSizes.count
        guard queueCount <= VirtioPCILayout.maxQueues else { throw PCIError.tooManyQueues(queueCount) }
        let log = GuestLog(label: device.debugLabel, sink)
        let vectorCount = min(max(device.interruptCount + 1, 2), MSIX.maxVectors)

        var space = PCIConfigurationSpace(VirtioPCILayout.identity(of: device.deviceType))
        space.useInterruptPin(line: UInt8(truncatingIfNeeded: PCIBus.interruptGSI(slot: slot)))
        capabilities = VirtioPCICapabilities(vectorCount: vectorCount, sharedMemory: device.sharedMemory, in: &space)
        let size = VirtioPCILayout.registersSize
        space.add(
            PCIConfigurationSpace.BAR(index: VirtioPCILayout.registersBAR, size: size, is64Bit: false, isPrefetchable: false),
            address: try bus.allocate(size, is64Bit: false))
        if let request = device.sharedMemory {
            let size = request.size.roundedUpToPowerOfTwo
            space.add(
                PCIConfigurationSpace.BAR(index: VirtioPCILayout.sharedMemoryBAR, size: size, is64Bit: true, isPrefetchable: true),
                address: try bus.allocate(size, is64Bit: true))
        }

        interrupts = try VirtioPCIInterrupts(
            queueCount: queueCount, vectorCount: vectorCount, routing: routing, line: bus.interruptLine(slot: slot), log: log)
        var kicks: [EventFD] = []
        for _ in 0..<queueCount { kicks.append(try EventFD()) }
        let doorbells = QueueDoorbells(registry: registry, kicks: kicks, log: log, base: nil) { base, queue in
            // Any width: the driver writes 16 bits, and KVM finds a doorbell fastest when it need not compare the length.
            let offset = VirtioPCILayout.notify.lowerBound + UInt64(queue) * VirtioPCILayout.notifyMultiplier
            return Doorbell(space: .mmio, address: base &+ offset, width: 0, match: nil)
        }
        transport = VirtioTransport(
            device: device, memory: memory, kicks: kicks, interrupts: interrupts, doorbells: doorbells, log: log)
        registers = VirtioPCIRegisters(transport: transport, interrupts: interrupts)
        self.memory = bus.memory
        self.log = log
        state = Mutex(State(space: space, mapped: space.bars.map { _ in nil }))
        try bus.insert(self, slot: slot)
        writeConfiguration(
            UInt32(PCIConfigurationSpace.Command.memory), at: PCIConfigurationSpace.Register.command, width: 2)
    }

    /// Where the shared memory region stands in the guest's memory; nil when there is none or decoding is off.
    public var sharedMemoryRange: Range<UInt64>? {
        state.withLock { state in
            state.space.bars.firstIndex { $0.index == VirtioPCILayout.sharedMemoryBAR }.flatMap { state.mapped[$0] }
        }
    }

    // MARK: Configuration space

    /// A guest's read of configuration space.
    public func readConfiguration(at offset: Int, width: Int) -> UInt32 {
        // Reading the data of the access capability reads a register (virtio 1.3, 4.1.4.9.1); not with the lock held, since the
        // register may be one that takes long.
        if touchesAccessData(offset, width), let access = state.withLock({ windowAccess($0.space) }) {
            let value = registers.read(at: access.offset, width: access.width)
            state.withLock {
                $0.space.set(
                    UInt32(truncatingIfNeeded: value), at: capabilities.access + VirtioPCICapabilities.accessData, width: access.width)
            }
        }
        return state.withLock { state in
            let isPending = interrupts.status
            let status = PCIConfigurationSpace.Register.status
            let bit = UInt32(PCIConfigurationSpace.Status.interrupt)
            let old = state.space.get(at: status, width: 2)
            state.space.set(isPending ? old | bit : old & ~bit, at: status, width: 2)
            return state.space.read(at: offset, width: width)
        }
    }

    /// A guest's write to configuration space; BARs and interrupts follow at once.
    public func writeConfiguration(_ value: UInt32, at offset: Int, width: Int) {
        let isAccess = touchesAccessData(offset, width)
        let access = state.withLock { state -> WindowAccess? in
            state.space.write(value, at: offset, width: width)
            apply(&state)
            return isAccess ? windowAccess(state.space) : nil
        }
        if let access { registers.write(UInt64(access.data), at: access.offset, width: access.width) }
    }

    /// Makes BARs, doorbells and interrupts follow the registers.
    func apply(_ state: inout State) {
        let command = state.space.command
        for (index, bar) in state.space.bars.enumerated() {
            let address = state.space.address(of: bar)
            let (end, overflow) = address.addingReportingOverflow(bar.size)
            let decodes = command & PCIConfigurationSpace.Command.memory != 0 && !overflow
            move(index, of: &state, to: decodes ? address..<end : nil)
        }
        let control = state.space.get(at: capabilities.msixControl, width: 2)
        interrupts.setControl(
            interruptDisabled: command & PCIConfigurationSpace.Command.interruptDisable != 0,
            usesMSIX: control & VirtioPCICapabilities.msixEnable != 0,
            functionMasked: control & VirtioPCICapabilities.msixFunctionMask != 0)
    }

    /// Takes all BARs out of the guest's memory.
    func unmapBARs(_ state: inout State) {
        for index in state.mapped.indices { move(index, of: &state, to: nil) }
    }

    /// Moves a BAR in the guest's memory. One that would stand on something else is nowhere until the guest moves it again.
    private func move(_ index: Int, of state: inout State, to target: Range<UInt64>?) {
        guard state.mapped[index] != target, let memory else { return }
        let isRegisters = state.space.bars[index].index == VirtioPCILayout.registersBAR
        if let old = state.mapped[index] {
            memory.remove(old)
            state.mapped[index] = nil
        }
        if let target {
            do throws(AddressBus.Overlap) {
                try memory.insert(isRegisters ? registers : UnbackedMemory.shared, at: target)
                state.mapped[index] = target
            } catch {
                log.report("the guest moved BAR \(state.space.bars[index].index) onto something else: \(error)")
            }
        }
        if isRegisters { transport.doorbells.move(to: state.mapped[index]?.lowerBound) }
    }

    // MARK: PCI configuration access capability

    /// An access to BAR 0 as the capability describes it.
    private struct WindowAccess {
        let offset: UInt64
        let width: Int
        let data: UInt32
    }

    private func touchesAccessData(_ offset: Int, _ width: Int) -> Bool {
        let data = capabilities.access + VirtioPCICapabilities.accessData
        return offset < data + 4 && offset + width > data
    }

    /// What the capability's fields ask for; nil when a driver must not ask for it (4.1.4.9.2).
    private func windowAccess(_ space: PCIConfigurationSpace) -> WindowAccess? {
        let base = capabilities.access
        let bar = space.get(at: base + VirtioPCICapabilities.accessBAR, width: 1)
        let offset = UInt64(space.get(at: base + VirtioPCICapabilities.accessOffset, width: 4))
        let length = UInt64(space.get(at: base + VirtioPCICapabilities.accessLength, width: 4))
        guard bar == UInt32(VirtioPCILayout.registersBAR), length == 1 || length == 2 || length == 4, offset % length == 0,
            offset < VirtioPCILayout.registersSize
        else { return nil }
        let width = Int(length)
        return WindowAccess(
            offset: offset, width: width, data: space.get(at: base + VirtioPCICapabilities.accessData, width: width))
    }
}

/// A BAR in which nothing is mapped: reads are all ones.
private final class UnbackedMemory: BusDevice {
    static let shared = UnbackedMemory()
    func read(at offset: UInt64, width: Int) -> UInt64 { .max }
    func write(_ value: UInt64, at offset: UInt64, width: Int) {}
}

extension UInt64 {
    /// The least power of two that is not below this; 2⁶³ for all above it.
    fileprivate var roundedUpToPowerOfTwo: UInt64 {
        self <= 1 ? 1 : 1 << UInt64(Swift.min(64 - (self - 1).leadingZeroBitCount, 63))
    }
}
