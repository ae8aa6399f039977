import Glibc

/// The descriptors that every program expects to have: standard input, output and error.
public enum StandardDescriptors {
    /// Has those that are closed lead to /dev/null.
    ///
    /// Call it before anything is opened: the kernel gives the lowest number that is free, so that a disk image would else become standard
    /// output, and get what was meant for a person.
    public static func complete() throws(SystemError) {
        for number: Int32 in 0...2 { try complete(number) }
    }

    /// Has a number that is closed lead to /dev/null, also in programs that this process executes.
    public static func complete(_ number: Int32) throws(SystemError) {
        guard fcntl(number, F_GETFD) == -1 else { return }
        let opened = try OwnedDescriptor.open("/dev/null", flags: O_RDWR)
        if opened.rawValue == number {
            let raw = opened.release()
            _ = try retryingOnInterrupt("fcntl") { fcntl(raw, F_SETFD, 0) }
        } else {
            let raw = opened.rawValue
            _ = try retryingOnInterrupt("dup2") { dup2(raw, number) }
        }
    }
}
