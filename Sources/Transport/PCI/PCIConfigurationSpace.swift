/// The configuration space of a PCI function with a type 0 header (PCI 3.0, 6.1): 256 bytes, and which of their bits a guest may write.
///
/// A value without behaviour: whoever owns it looks at it after a write. Sizing a BAR needs no special case, because the address bits
/// below the size are simply not writable.
public struct PCIConfigurationSpace: Sendable, Equatable {
    /// Offsets in the header.
    public enum Register {
        /// Vendor ID.
        public static let vendor = 0x00
        /// Command.
        public static let command = 0x04
        /// Status.
        public static let status = 0x06
        /// Cache line size.
        public static let cacheLineSize = 0x0c
        /// The first base address register.
        public static let firstBAR = 0x10
        /// Interrupt line.
        public static let interruptLine = 0x3c
        fileprivate static let device = 0x02
        fileprivate static let revision = 0x08
        fileprivate static let classCode = 0x09
        fileprivate static let subsystemVendor = 0x2c
        fileprivate static let subsystem = 0x2e
        fileprivate static let capabilities = 0x34
        fileprivate static let interruptPin = 0x3d
        fileprivate static let afterHeader = 0x40
    }

    /// Bits of the command register.
    public enum Command {
        /// Memory space enable.
        public static let memory: UInt16 = 1 << 1
        /// Bus master enable.
        public static let busMaster: UInt16 = 1 << 2
        /// Interrupt disable: the function may not assert INTx.
        public static let interruptDisable: UInt16 = 1 << 10
        // Parity error response and SERR# enable can be set as in any function, and mean nothing here.
        fileprivate static let writable: UInt16 = memory | busMaster | interruptDisable | 1 << 6 | 1 << 8
    }

    /// Bits of the status register.
    public enum Status {
        /// The function asserts, or would assert but for interrupt disable, INTx.
        public static let interrupt: UInt16 = 1 << 3
        fileprivate static let capabilities: UInt16 = 1 << 4
    }

    /// Who a function is.
    public struct Identity: Sendable, Equatable {
        /// Vendor ID.
        public var vendor: UInt16
        /// Device ID.
        public var device: UInt16
        /// Revision ID.
        public var revision: UInt8
        /// Base class, sub-class and programming interface, 24 bits.
        public var classCode: UInt32
        /// Subsystem vendor ID.
        public var subsystemVendor: UInt16
        /// Subsystem ID.
        public var subsystem: UInt16

        /// An identity from its parts.
        public init(
            vendor: UInt16, device: UInt16, revision: UInt8, classCode: UInt32, subsystemVendor: UInt16 = 0, subsystem: UInt16 = 0
        ) {
            self.vendor = vendor
            self.device = device
            self.revision = revision
            self.classCode = classCode
            self.subsystemVendor = subsystemVendor
            self.subsystem = subsystem
        }
    }

    /// A memory base address register.
    public struct BAR: Sendable, Equatable {
        /// 0…5; a 64-bit register also takes the next one.
        public let index: Int
        /// Bytes: a power of two, at least 16.
        public let size: UInt64
        /// Whether the address has 64 bits.
        public let is64Bit: Bool
        /// Whether reads have no side effects.
        public let isPrefetchable: Bool

        /// A register.
        public init(index: Int, size: UInt64, is64Bit: Bool, isPrefetchable: Bool) {
            self.index = index
            self.size = size
            self.is64Bit = is64Bit
            self.isPrefetchable = isPrefetchable
        }
    }

    /// Size in bytes.
    public static let size = 256

    private var bytes = [UInt8](repeating: 0, count: size)
    private var writable = [UInt8](repeating: 0, count: size)
    private var nextCapability = Register.afterHeader
    private var lastCapability: Int?
    /// The base address registers, in the order in which they were added.
    public private(set) var bars: [BAR] = []

    /// The space of a function without capabilities and base address registers.
    public init(_ identity: Identity) {
        set(UInt32(identity.vendor), at: Register.vendor, width: 2)
        set(UInt32(identity.device), at: Register.device, width: 2)
        set(UInt32(identity.revision), at: Register.revision, width: 1)
        for byte in 0..<3 { set(identity.classCode >> UInt32(8 * byte), at: Register.classCode + byte, width: 1) }
        set(UInt32(identity.subsystemVendor), at: Register.subsystemVendor, width: 2)
        set(UInt32(identity.subsystem), at: Register.subsystem, width: 2)
        setWritable(UInt32(Command.writable), at: Register.command, width: 2)
        setWritable(0xff, at: Register.cacheLineSize, width: 1)
    }

    /// Says that the function uses INTA, and which interrupt that reaches.
    public mutating func useInterruptPin(line: UInt8) {
        set(1, at: Register.interruptPin, width: 1)
        set(UInt32(line), at: Register.interruptLine, width: 1)
        setWritable(0xff, at: Register.interruptLine, width: 1)
    }

    /// Adds a base address register that stands at `address`, a multiple of its size.
    public mutating func add(_ bar: BAR, address: UInt64) {
        let offset = Register.firstBAR + 4 * bar.index
        let flags: UInt32 = (bar.is64Bit ? 0b100 : 0) | (bar.isPrefetchable ? 0b1000 : 0)
        let mask = ~(bar.size &- 1)
        set(UInt32(truncatingIfNeeded: address & mask) | flags, at: offset, width: 4)
        setWritable(UInt32(truncatingIfNeeded: mask) & ~0xf, at: offset, width: 4)
        if bar.is64Bit {
            set(UInt32(truncatingIfNeeded: address >> 32), at: offset + 4, width: 4)
            setWritable(UInt32(truncatingIfNeeded: mask >> 32), at: offset + 4, width: 4)
        }
        bars.append(bar)
    }

    /// Appends a capability to the list and returns its offset. `body` is what follows the ID and the next pointer; in bytes of it where
    /// `bodyWritable` has ones, the guest may write.
    @discardableResult
    public mutating func addCapability(id: UInt8, body: [UInt8], bodyWritable: [UInt8] = []) -> Int {
        let offset = nextCapability
        set(UInt32(id), at: offset, width: 1)
        for (index, byte) in body.enumerated() { set(UInt32(byte), at: offset + 2 + index, width: 1) }
        for (index, mask) in bodyWritable.enumerated() { setWritable(UInt32(mask), at: offset + 2 + index, width: 1) }
        set(UInt32(offset), at: lastCapability.map { $0 + 1 } ?? Register.capabilities, width: 1)
        set(UInt32(get(at: Register.status, width: 2)) | UInt32(Status.capabilities), at: Register.status, width: 2)
        lastCapability = offset
        nextCapability = (offset + 2 + body.count + 3) & ~3
        return offset
    }

    /// The command register.
    public var command: UInt16 { UInt16(truncatingIfNeeded: get(at: Register.command, width: 2)) }

    /// The address in a base address register, whether or not memory decoding is on.
    public func address(of bar: BAR) -> UInt64 {
        let offset = Register.firstBAR + 4 * bar.index
        let low = UInt64(get(at: offset, width: 4) & ~0xf)
        return bar.is64Bit ? low | UInt64(get(at: offset + 4, width: 4)) << 32 : low
    }

    /// Writes an address into a base address register.
    mutating func setAddress(_ address: UInt64, of bar: BAR) {
        let offset = Register.firstBAR + 4 * bar.index
        write(UInt32(truncatingIfNeeded: address), at: offset, width: 4)
        if bar.is64Bit { write(UInt32(truncatingIfNeeded: address >> 32), at: offset + 4, width: 4) }
    }

    /// A guest's read of 1, 2 or 4 bytes that lie in one aligned group of four; any other is all ones.
    public func read(at offset: Int, width: Int) -> UInt32 {
        guard Self.allows(offset, width) else { return .max }
        return get(at: offset, width: width)
    }

    /// A guest's write; read-only bits keep their value. One that `read` would answer with all ones does nothing.
    public mutating func write(_ value: UInt32, at offset: Int, width: Int) {
        guard Self.allows(offset, width) else { return }
        for index in 0..<width {
            let mask = writable[offset + index]
            let byte = UInt8(truncatingIfNeeded: value >> UInt32(8 * index))
            bytes[offset + index] = bytes[offset + index] & ~mask | byte & mask
        }
    }

    /// Whether an access is one that configuration space answers.
    static func allows(_ offset: Int, _ width: Int) -> Bool {
        (width == 1 || width == 2 || width == 4) && offset >= 0 && offset <= size - width && offset & 3 <= 4 - width
    }

    /// Reads for the function itself.
    func get(at offset: Int, width: Int) -> UInt32 {
        var value: UInt32 = 0
        for index in 0..<width { value |= UInt32(bytes[offset + index]) << UInt32(8 * index) }
        return value
    }

    /// Writes for the function itself, read-only bits included.
    mutating func set(_ value: UInt32, at offset: Int, width: Int) {
        for index in 0..<width { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index)) }
    }

    private mutating func setWritable(_ mask: UInt32, at offset: Int, width: Int) {
        for index in 0..<width { writable[offset + index] = UInt8(truncatingIfNeeded: mask >> UInt32(8 * index)) }
    }
}
