/// What a loader knows about the kernel that it has placed in guest memory.
struct LoadedKernel: Sendable, Equatable {
    /// How the kernel wants to be entered and told about the machine.
    enum BootProtocol: Sendable, Equatable {
        /// Linux's 64-bit boot protocol: a zero page that begins with this setup header, as bytes from 0x1f1 on.
        case linux64(setupHeader: [UInt8])
        /// PVH: 32-bit entry with hvm_start_info.
        case pvh
    }

    /// How to enter.
    var bootProtocol: BootProtocol
    /// The guest-physical address of the first instruction.
    var entry: UInt64
    /// The memory that the kernel fills or takes before it reads the memory map.
    var occupied: Range<UInt64>
    /// An initrd must end at or below this address.
    var initrdLimit: UInt64
    /// The longest command line in bytes, without its zero byte.
    var commandLineLimit: Int

    /// What x86 kernels take when their file does not say: COMMAND_LINE_SIZE without the zero byte.
    static let defaultCommandLineLimit = 2047
}
