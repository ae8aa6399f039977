public import Schema
public import Transport

/// A device of the platform itself (no virtio): it answers at a range of ports or addresses, and its state can be saved.
///
/// Devices know offsets into their range only; the address map knows where each range stands. All members may be called from any
/// thread; devices lock themselves.
public protocol MachineDevice: BusDevice {
    /// The size of the range in bytes.
    static var byteCount: UInt64 { get }
    /// What a snapshot keeps: names and numbers that a person can read.
    var state: JSONValue { get }
    /// Takes over a saved state. Everything is validated first: after an error in the document the device is as before.
    func restore(_ state: SavedValue) throws(StateError)
    /// Raises a pending interrupt once more. Called after a wake or a restore, when the interrupt controllers are in place, because an
    /// edge that was sent on the way may have been lost.
    func resume()
}

extension MachineDevice {
    /// No interrupt, so nothing to raise.
    public func resume() {}
}

/// A device whose registers are bytes, like everything that ever stood on an ISA bus.
public protocol ByteRegisterDevice: MachineDevice {
    /// Reads the register at an offset below `byteCount`.
    func readRegister(_ offset: UInt64) -> UInt8
    /// Writes the register at an offset below `byteCount`.
    func writeRegister(_ offset: UInt64, _ value: UInt8)
}

extension ByteRegisterDevice {
    /// Reads byte by byte, lowest offset first: an 8-bit device on a wider bus. Offsets beyond the range read as all ones.
    public func read(at offset: UInt64, width: Int) -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<UInt64(clamping: min(width, 8)) {
            let position = offset &+ index
            let byte = position < Self.byteCount ? readRegister(position) : 0xFF
            value |= UInt64(byte) << (8 * index)
        }
        return value
    }

    /// Writes byte by byte, lowest offset first. Bytes beyond the range go nowhere.
    public func write(_ value: UInt64, at offset: UInt64, width: Int) {
        for index in 0..<UInt64(clamping: min(width, 8)) {
            let position = offset &+ index
            if position < Self.byteCount { writeRegister(position, UInt8(truncatingIfNeeded: value >> (8 * index))) }
        }
    }
}
