import Glibc

/// Makes room for descriptors with numbers below `count`, if the process's limit allows for as many.
///
/// To be called while there is one thread. Later the kernel waits whenever it enlarges the table until no other thread can still look at the
/// one before: many milliseconds, with which a machine of a few devices would pay for its 64th descriptor.
public func makeRoomForDescriptors(_ count: Int32) {
    guard let event = try? EventFD() else { return }
    let last = fcntl(event.rawValue, F_DUPFD_CLOEXEC, count - 1)
    if last >= 0 { _ = OwnedDescriptor(owning: last) }
}
