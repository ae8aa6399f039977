import CLinux
public import Host
import Virtqueue

/// A virtual processor of KVM. Whoever owns it runs it, from one thread at a time; other threads use its `handle`.
public struct KVMVirtualCPU: ~Copyable, Sendable {
    /// The APIC identifier.
    public let id: UInt32
    /// For getting it out of the guest.
    public let handle: VCPUHandle

    let descriptor: OwnedDescriptor
    // Kept for its memory, which the processor reaches whenever it runs.
    let machine: KVMVirtualMachine
    private let area: MemoryMapping
    private var pending = Pending.nothing

    /// What remains of the last exit.
    private enum Pending {
        case nothing
        /// A read that waits for its answer, `offset` bytes into the shared record.
        case read(offset: Int, width: Int)
        /// A string instruction: one exit of KVM, which is reported element by element. `next` is the one to report.
        case elements(Elements, next: Int)
    }

    private struct Elements {
        let offset: Int
        let width: Int
        let count: Int
        let port: UInt16
        let isWrite: Bool
    }

    init(_ descriptor: consuming OwnedDescriptor, id: UInt32, of machine: KVMVirtualMachine) throws(SystemError) {
        area = try MemoryMapping(descriptor, count: machine.runAreaSize)
        handle = VCPUHandle(area)
        self.id = id
        self.machine = machine
        self.descriptor = descriptor
    }

    /// Runs the guest until it needs something.
    ///
    /// The next call completes what this one reported. Fails with what KVM_RUN answered: the processor cannot go on then.
    public mutating func run() throws(SystemError) -> VCPUExit {
        if let exit = nextElement() { return exit }
        pending = .nothing
        let raw = descriptor.rawValue
        while true {
            let failure = handle.entering { swv_kvm_value(raw, SWV_KVM_RUN, 0) == 0 ? nil : Errno.current }
            guard let failure else { return exit() }
            switch failure.rawValue {
            case EINTR: return .interrupted
            // A processor that was waiting for INIT and SIPI has got them.
            case EAGAIN: continue
            case EFAULT where exitReason() == Self.exitMemoryFault: return .memoryFault
            default: throw SystemError("KVM_RUN", failure)
            }
        }
    }

    /// Answers the read that `run` reported, with the bytes of `value` that it is wide. Does nothing when there is none.
    public mutating func completeRead(_ value: UInt64) {
        switch pending {
        case .read(let offset, let width): store(value, at: offset, width: width)
        case .elements(let elements, let next) where !elements.isWrite && next > 0:
            store(value, at: elements.offset + (next - 1) * elements.width, width: elements.width)
        case .elements, .nothing: break
        }
    }

    /// Explains an internal error that `run` has just reported.
    public borrowing func diagnose(_ error: KVMInternalError) throws(SystemError) -> VCPUFailure {
        VCPUFailure(error: error, instructionPointer: try regs().rip)
    }

    /// KVM_EXIT_MEMORY_FAULT, younger than the headers that swvmm is built with; comes with an error from KVM_RUN.
    private static let exitMemoryFault: UInt32 = 39

    private borrowing func exitReason() -> UInt32 { readExit().reason }

    private borrowing func readExit() -> swv_kvm_exit {
        var exit = swv_kvm_exit()
        unsafe swv_kvm_read_exit(area.range.base, &exit)
        return exit
    }

    private mutating func exit() -> VCPUExit {
        let exit = readExit()
        switch Int32(bitPattern: exit.reason) {
        case KVM_EXIT_IO: return portExit(exit)
        case KVM_EXIT_MMIO:
            let width = Int(exit.width)
            if exit.is_write != 0 { return .mmioWrite(address: exit.address, width: width, value: exit.data) }
            pending = .read(offset: swv_kvm_mmio_data_offset(), width: width)
            completeRead(.max)
            return .mmioRead(address: exit.address, width: width)
        case KVM_EXIT_HLT: return .halt
        case KVM_EXIT_SHUTDOWN: return .shutdown
        case KVM_EXIT_IOAPIC_EOI: return .ioapicEOI(vector: exit.vector)
        case KVM_EXIT_SYSTEM_EVENT: return .systemEvent(type: exit.code)
        case KVM_EXIT_FAIL_ENTRY: return .failEntry(reason: exit.address)
        case KVM_EXIT_DEBUG: return .debug
        case KVM_EXIT_HYPERCALL: return .hypercall(number: exit.address)
        case KVM_EXIT_INTR: return .interrupted
        case KVM_EXIT_INTERNAL_ERROR:
            let bytes = exit.bytes
            let low = Self.word(bytes.0, bytes.1, bytes.2, bytes.3, bytes.4, bytes.5, bytes.6, bytes.7)
            let high = Self.word(bytes.8, bytes.9, bytes.10, bytes.11, bytes.12, bytes.13, bytes.14, bytes.15)
            return .internalError(KVMInternalError(suberror: exit.code, low: low, high: high, instructionSize: exit.width))
        default: return .unknown(reason: exit.reason)
        }
    }

    private static func word(
        _ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8, _ e: UInt8, _ f: UInt8, _ g: UInt8, _ h: UInt8
    ) -> UInt64 {
        let low = UInt64(a) | UInt64(b) << 8 | UInt64(c) << 16 | UInt64(d) << 24
        return low | UInt64(e) << 32 | UInt64(f) << 40 | UInt64(g) << 48 | UInt64(h) << 56
    }

    private mutating func portExit(_ exit: swv_kvm_exit) -> VCPUExit {
        let elements = Elements(
            offset: Int(clamping: exit.data), width: Int(exit.width), count: Int(exit.count),
            port: UInt16(truncatingIfNeeded: exit.address), isWrite: exit.is_write != 0)
        pending = .elements(elements, next: 0)
        return nextElement() ?? .unknown(reason: exit.reason)
    }

    /// Reports the next element of a port access; nil when all were reported.
    private mutating func nextElement() -> VCPUExit? {
        guard case .elements(let elements, let next) = pending, next < elements.count else { return nil }
        pending = .elements(elements, next: next + 1)
        if elements.isWrite {
            return .portOut(
                port: elements.port, width: elements.width, value: load(at: elements.offset + next * elements.width, width: elements.width))
        }
        completeRead(.max)
        return .portIn(port: elements.port, width: elements.width)
    }

    private borrowing func load(at offset: Int, width: Int) -> UInt64 {
        let range = area.range
        return switch width {
        case 1: UInt64(range.load(at: offset, as: UInt8.self) ?? 0)
        case 2: UInt64(range.load(at: offset, as: UInt16.self) ?? 0)
        default: UInt64(range.load(at: offset, as: UInt32.self) ?? 0)
        }
    }

    private borrowing func store(_ value: UInt64, at offset: Int, width: Int) {
        // Byte by byte, because the width of a memory access may be anything up to 8.
        for index in 0..<width { area.range.store(UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))), at: offset + index) }
    }
}
