/// What every payload uses: COM1, the exit register, and what the loader handed over.
enum Guest {
    /// The transmit register of COM1.
    static let serialPort: UInt16 = 0x3f8
    /// With `"debugExit": true`, a byte written here ends the virtual machine with that exit code.
    static let exitPort: UInt16 = 0x501

    static func print(_ text: StaticString) {
        unsafe print(bytes: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    static func print(bytes: UnsafeBufferPointer<UInt8>) {
        for index in 0..<bytes.count { guest_out8(serialPort, unsafe bytes[index]) }
    }

    static func print(_ number: UInt64) {
        if number >= 10 { print(number / 10) }
        guest_out8(serialPort, UInt8(truncatingIfNeeded: number % 10) &+ 0x30)
    }

    /// Ends the virtual machine; where nothing answers at the exit register, the processor halts for good.
    static func exit(_ code: UInt8) -> Never {
        guest_out8(exitPort, code)
        while true { guest_halt() }
    }
}

/// What the loader handed over.
struct BootInformation {
    enum Form { case bootParams, hvmStartInfo }
    let form: Form
    let address: UInt

    /// Bytes of the kernel command line.
    var commandLine: UnsafeBufferPointer<UInt8> {
        let start: UInt
        switch form {
        case .bootParams:
            // boot_params.hdr.cmd_line_ptr, and its upper half in ext_cmd_line_ptr (Linux boot protocol, zero page).
            start = UInt(load(0x228, as: UInt32.self)) | UInt(load(0xc8, as: UInt32.self)) << 32
        case .hvmStartInfo:
            start = UInt(load(24, as: UInt64.self))
        }
        guard let text = unsafe UnsafePointer<UInt8>(bitPattern: start) else {
            return unsafe UnsafeBufferPointer(start: nil, count: 0)
        }
        var count = 0
        while count < 4096, unsafe text[count] != 0 { count += 1 }
        return unsafe UnsafeBufferPointer(start: text, count: count)
    }

    /// The number that follows a word of the command line; nil when it is not there.
    func number(after key: StaticString) -> UInt64? {
        let text = unsafe commandLine
        var matched = 0
        var value: UInt64 = 0
        var hasDigit = false
        for index in 0..<text.count {
            let byte = unsafe text[index]
            if matched == key.utf8CodeUnitCount {
                guard byte >= 0x30, byte <= 0x39 else { break }
                value = value &* 10 &+ UInt64(byte - 0x30)
                hasDigit = true
            } else {
                matched = unsafe byte == key.utf8Start[matched] ? matched + 1 : 0
            }
        }
        return hasDigit ? value : nil
    }

    /// How many entries the memory map has.
    var memoryMapEntries: UInt64 {
        switch form {
        case .bootParams: UInt64(load(0x1e8, as: UInt8.self))
        case .hvmStartInfo: UInt64(load(48, as: UInt32.self))
        }
    }

    private func load<T: FixedWidthInteger>(_ offset: UInt, as type: T.Type) -> T {
        guard let pointer = unsafe UnsafeRawPointer(bitPattern: address + offset) else { return 0 }
        return unsafe pointer.load(as: T.self)
    }
}
