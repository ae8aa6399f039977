import Synchronization

/// Log lines that a guest can provoke, thinned out so that it cannot fill a disk with them.
///
/// By count and not by time: the first sixteen appear, and from then on those whose number is a power of two.
final class GuestLog: Sendable {
    private static let unthinned: UInt64 = 16

    private let label: String
    private let sink: @Sendable (String) -> Void
    private let count = Atomic<UInt64>(0)

    init(label: String, _ sink: @escaping @Sendable (String) -> Void) {
        self.label = label
        self.sink = sink
    }

    func report(_ message: @autoclosure () -> String) {
        let number = count.add(1, ordering: .relaxed).newValue
        if number <= Self.unthinned {
            sink("\(label): \(message())")
        } else if number & (number &- 1) == 0 {
            sink("\(label): \(message()) (message \(number) of this device; most are not shown)")
        }
    }
}
