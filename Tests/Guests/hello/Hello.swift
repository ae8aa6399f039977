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
    Guest.exit(UInt8(truncatingIfNeeded: boot.number(after: "exit=") ?? 0))
}
