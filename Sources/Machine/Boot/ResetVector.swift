import GuestMemory

/// What stands where a PC has the first instruction of its firmware.
///
/// Without EFI, Linux on hardware-reduced ACPI does not use the reset register: it takes EFI's reset to be the only one, finds none, and jumps
/// to the firmware in real mode, as DOS programs did. That is to be a reset here as it is on a PC, with any kernel and command line.
enum ResetVector {
    /// mov al, 0xfe (pulse the reset line); out 0x64, al (the keyboard controller's command port); then hlt, for ever.
    static let code: [UInt8] = [0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd]

    static func write(into memory: GuestMemory) { memory.write(code, at: AddressMap.resetVector.lowerBound) }
}
