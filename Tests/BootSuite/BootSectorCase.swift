import Host

/// A PC's firmware on a disk of ours, without any operating system: it reads a boot sector, which reads and writes through the firmware.
func bootFromDisk(_ options: Options, _ scratch: Scratch, _ note: PeerNote) throws {
    // 120 lines in 8 sectors, different each time.
    let place = "cd \(scratch.path)"
    let sector = bootSector.map { "\\\(String($0, radix: 8))" }.joined()
    let image = "printf '\(sector)' >disk.img && cat text >>disk.img && truncate -s 4M disk.img"
    guard let text = Command.shell("\(place) && head -c 1920 /dev/urandom | od -An -v -tx1 | tr -d ' ' | tee text"),
        Command.shell("\(place) && \(image)") != nil
    else { throw PeerFailure("failed: \(image)") }
    let disk = try DeviceService(options, "block", in: scratch, packed: false, "path=\(scratch.path)/disk.img")
    let front = EmulatedGuest.device(disk, id: "disk", "vhost-user-blk-pci,bootindex=0")
    let machine = try EmulatedGuest(options, devices: front + ["-device", "isa-debug-exit,iobase=0x501,iosize=2"], words: nil)
    let said = try machine.waitForEnd(code: 2 * 0x10 + 1)
    guard said.joined(separator: "\n") == text else { throw PeerFailure("what was read differs from the disk", context: said.suffix(5)) }
    note("reads")
    guard Command.shell("\(place) && cmp -n 4096 -i 512:5120 disk.img disk.img") != nil else {
        throw PeerFailure("what was written differs from what was read")
    }
    note("writes")
    try disk.end()
    note("the device ends well")
}

/// Reads 8 sectors from the second on, sends their text through COM1, writes them again from the eleventh on, and leaves by QEMU's exit
/// register with 0x10, or 0x11 when the firmware reports an error.
private let bootSector: [UInt8] = {
    let begin: [UInt8] = [
        0xfa, 0xfc, 0x31, 0xc0,  // cli; cld; xor ax, ax
        0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0,  // mov ds, ax; mov es, ax; mov ss, ax
        0xbc, 0x00, 0x7c, 0xfb,  // mov sp, 0x7c00; sti
    ]
    let read: [UInt8] = [
        0xb8, 0x08, 0x02, 0xb9, 0x02, 0x00,  // mov ax, 0x0208; mov cx, 0x0002
        0xbb, 0x00, 0x7e, 0xba, 0x80, 0x00,  // mov bx, 0x7e00; mov dx, 0x0080
        0xcd, 0x13, 0x72, 0x33,  // int 0x13; jc failed
    ]
    let send: [UInt8] = [
        0xbe, 0x00, 0x7e,  // mov si, 0x7e00
        0xac, 0x84, 0xc0, 0x74, 0x12, 0x88, 0xc4,  // next: lodsb; test al, al; jz write; mov ah, al
        0xba, 0xfd, 0x03,  // mov dx, 0x3fd
        0xec, 0xa8, 0x20, 0x74, 0xfb,  // busy: in al, dx; test al, 0x20; jz busy
        0xba, 0xf8, 0x03, 0x88, 0xe0, 0xee,  // mov dx, 0x3f8; mov al, ah; out dx, al
        0xeb, 0xe9,  // jmp next
    ]
    let write: [UInt8] = [
        0xb8, 0x08, 0x03, 0xb9, 0x0b, 0x00,  // write: mov ax, 0x0308; mov cx, 0x000b
        0xbb, 0x00, 0x7e, 0xba, 0x80, 0x00,  // mov bx, 0x7e00; mov dx, 0x0080
        0xcd, 0x13, 0x72, 0x09,  // int 0x13; jc failed
    ]
    let leave: [UInt8] = [
        0xb0, 0x10,  // mov al, 0x10
        0xba, 0x01, 0x05, 0xee, 0xf4, 0xeb, 0xfd,  // leave: mov dx, 0x501; out dx, al; halt: hlt; jmp halt
        0xb0, 0x11, 0xeb, 0xf5,  // failed: mov al, 0x11; jmp leave
    ]
    let code = begin + read + send + write + leave
    return code + [UInt8](repeating: 0, count: 510 - code.count) + [0x55, 0xaa]
}()
