import CLinux
public import Host

/// The files at the other end of a disk's bytes.
public enum DiskFiles {
    /// A new file.
    public static func create(_ path: String) throws(VMError) -> OwnedDescriptor {
        try open(path, O_WRONLY | O_CREAT | O_EXCL, "a place for a new file")
    }

    /// A file to read.
    public static func open(_ path: String) throws(VMError) -> OwnedDescriptor { try open(path, O_RDONLY, "a file that can be read") }

    /// Standard output.
    public static func standardOutput() throws(VMError) -> OwnedDescriptor { try inherited(1, "standard output") }

    /// Standard input.
    public static func standardInput() throws(VMError) -> OwnedDescriptor { try inherited(0, "standard input") }

    /// A new image of so many bytes that takes no storage yet; a block device is taken as it is.
    public static func makeImage(_ path: String, size: UInt64) throws(VMError) {
        if let device = try? OwnedDescriptor.open(path, flags: O_RDONLY | O_NONBLOCK), let status = try? device.status(),
            status.kind == .blockDevice
        {
            return
        }
        let image = try create(path)
        do { try image.resize(to: size) } catch { throw VMError(.resource, "\(path): \(error.errno); expected room for \(size) bytes.") }
    }

    private static func open(_ path: String, _ flags: Int32, _ expected: String) throws(VMError) -> OwnedDescriptor {
        do { return try OwnedDescriptor.open(path, flags: flags, mode: 0o600) } catch {
            throw VMError(.resource, "\(path): \(error.errno); expected \(expected).")
        }
    }

    private static func inherited(_ number: Int32, _ name: String) throws(VMError) -> OwnedDescriptor {
        do { return try OwnedDescriptor.duplicating(inherited: number) } catch {
            throw VMError(.resource, "There is no \(name) (\(error.errno)).")
        }
    }
}
