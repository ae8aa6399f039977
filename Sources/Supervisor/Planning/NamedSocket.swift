import Host

/// A listening socket that was made at a path, and goes with its owner.
///
/// The name goes first, while somebody still listens: otherwise a successor could find that nobody does, take the path over, and lose its own
/// socket to our clearing away. Whoever serves the socket may end before that, so it is kept open here, too.
final class NamedSocket: Sendable {
    private let path: String
    private let listener: Slot<OwnedDescriptor>

    /// Remembers a socket that listens at a path.
    init(_ path: String, _ listener: borrowing OwnedDescriptor) throws(SystemError) {
        self.path = path
        do throws(SystemError) { self.listener = Slot(try listener.duplicate()) } catch {
            removeFile(path)
            throw error
        }
    }

    /// Removes it; harmless when that was done: what is there now may be another's.
    func remove() {
        guard let listener = listener.take() else { return }
        removeFile(path)
        _ = consume listener
    }
}
