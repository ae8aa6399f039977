import Foundation
import Host
import Testing

@Suite("Standard streams that are closed")
struct StandardDescriptorsTests {
    /// Far from every number that something else in this process gets.
    private static let number: Int32 = 800

    @Test("A number that is closed leads to /dev/null, also in a program that is executed; one that is open stays as it is")
    func complete() throws {
        #expect(fcntl(Self.number, F_GETFD) == -1)
        try StandardDescriptors.complete(Self.number)
        #expect(fcntl(Self.number, F_GETFD) == 0)
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(Self.number)") == "/dev/null")
        close(Self.number)
        let pair = try SocketPair()
        let raw = pair.first.rawValue
        try StandardDescriptors.complete(raw)
        #expect(fcntl(raw, F_GETFD) == FD_CLOEXEC)
    }
}
