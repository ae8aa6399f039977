import Glibc
import Host
import Testing

@testable import Devices

@Suite("Disk images")
struct BlockImageTests {
    private func error(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "no error"
        } catch let error as BlockImageError {
            return error.description
        } catch {
            return "another error"
        }
    }

    @Test("A regular file of whole blocks is a disk")
    func regularFile() throws {
        let file = try temporaryFile(size: 1 << 20)
        let properties = try BlockImage.inspect(file, named: "disk.img", blockSize: 4096)
        #expect(properties.size == 1 << 20)
        #expect(!properties.isBlockDevice)
        #expect(properties.physicalBlock == 4096)
    }

    @Test("What is no disk is refused with a sentence that names it")
    func refusals() throws {
        let directory = try OwnedDescriptor.open("/tmp", flags: O_RDONLY)
        #expect(
            error { _ = try BlockImage.inspect(directory, named: "a/b") }
                == "The disk image a/b is a directory; a raw image file or a block device was expected.")
        let null = try OwnedDescriptor.open("/dev/null", flags: O_RDWR)
        #expect(error { _ = try BlockImage.inspect(null, named: "n") } == "The disk image n is neither a regular file nor a block device.")
        let odd = try temporaryFile(size: 1000)
        #expect(error { _ = try BlockImage.inspect(odd, named: "o") } == "The disk image o has 1000 bytes; a multiple of 512 was expected.")
        let half = try temporaryFile(size: 4608)
        #expect(
            error { _ = try BlockImage.inspect(half, named: "h", blockSize: 4096) }
                == "The disk image h has 4608 bytes; a multiple of 4096 was expected.")
        let empty = try temporaryFile(size: 0)
        #expect(error { _ = try BlockImage.inspect(empty, named: "e") } == "The disk image e is empty; at least one block was expected.")
    }

    @Test("A writable image has one user, a read-only one as many as like, and never both")
    func locks() throws {
        let directory = try DirectoryForTest()
        let path = directory.name + "/disk"
        func open(_ flags: Int32 = O_RDWR) throws -> OwnedDescriptor {
            try OwnedDescriptor.open(path, flags: flags | O_CREAT, mode: 0o600)
        }
        do {
            let first = try open()
            try BlockImage.lock(first, named: path, readOnly: false)
            let second = try open()
            #expect(
                error { try BlockImage.lock(second, named: "d", readOnly: false) }
                    == "The disk image d is locked: another VM uses it, and a writable image can have only one user.")
            let third = try open(O_RDONLY)
            #expect(
                error { try BlockImage.lock(third, named: "d", readOnly: true) }
                    == "The disk image d is locked: another VM has it open for writing.")
        }
        let first = try open(O_RDONLY)
        try BlockImage.lock(first, named: path, readOnly: true)
        let second = try open(O_RDONLY)
        try BlockImage.lock(second, named: path, readOnly: true)
        let third = try open()
        #expect(error { try BlockImage.lock(third, named: "d", readOnly: false) } != "no error")
    }

    @Test("A lock that two descriptors share lasts as long as either", arguments: [true, false])
    func sharedLock(_ imageGoesFirst: Bool) throws {
        let directory = try DirectoryForTest()
        let path = directory.name + "/disk"
        let (image, direct) = (Slot(try Self.open(path)), Slot(try Self.open(path)))
        let other = try Self.open(path)
        func isFree(_ readOnly: Bool) -> Bool { error { try BlockImage.lock(other, named: "d", readOnly: readOnly) } == "no error" }
        if let first = image.take(), let second = direct.take() {
            try BlockImage.lock(first, named: path, readOnly: false)
            try BlockImage.shareLock(of: first, with: second, named: path)
            image.put(first)
            direct.put(second)
        }
        #expect(!isFree(false) && !isFree(true))
        _ = (imageGoesFirst ? image : direct).take()
        #expect(!isFree(false) && !isFree(true))
        _ = (imageGoesFirst ? direct : image).take()
        #expect(isFree(false))
    }

    private static func open(_ path: String) throws -> OwnedDescriptor {
        try OwnedDescriptor.open(path, flags: O_RDWR | O_CREAT, mode: 0o600)
    }
}
