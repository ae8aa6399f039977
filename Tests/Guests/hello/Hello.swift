/// Prints what it was given and ends the virtual machine with the code that `exit=N` on the command line asks for (0 without).
@_cdecl("guest_main")
func main(information: UInt, form: Int32) {
    let boot = BootInformation(form: form == 0 ? .bootParams : .hvmStartInfo, address: information)
    Guest.print(form == 0 ? "hello from long mode\n" : "hello from PVH\n")
    Guest.print("command line: ")
    unsafe Guest.print(bytes: boot.commandLine)
    Guest.print("\nmemory map entries: ")
    Guest.print(boot.memoryMapEntries)
    Guest.print("\n")
    Guest.exit(unsafe exitCode(in: boot.commandLine))
}

private func exitCode(in commandLine: UnsafeBufferPointer<UInt8>) -> UInt8 {
    let key: InlineArray<5, UInt8> = [0x65, 0x78, 0x69, 0x74, 0x3d]  // "exit="
    var matched = 0
    var code: UInt8 = 0
    for index in 0..<commandLine.count {
        let byte = unsafe commandLine[index]
        if matched == key.count {
            guard byte >= 0x30, byte <= 0x39 else { break }
            code = code &* 10 &+ (byte - 0x30)
        } else {
            matched = byte == key[matched] ? matched + 1 : 0
        }
    }
    return code
}
