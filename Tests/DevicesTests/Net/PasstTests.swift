import Glibc
import Host
import Testing
import Virtio

@testable import Devices

@Suite("Network device with passt", .enabled(if: findProgram("passt") != nil))
struct PasstTests {
    @Test("passt answers on a socket pair in the framing of -netdev stream, and goes with its end")
    func answers() throws {
        let pair = try SocketPair()
        let null = try OwnedDescriptor.open("/dev/null", flags: O_RDWR)
        var passt = try ChildProcess(
            path: try #require(findProgram("passt")), arguments: ["passt", "--foreground", "--quiet", "--fd", "3"],
            descriptors: (0..<3).map { InheritedDescriptor(null.rawValue, as: $0) } + [InheritedDescriptor(pair.second.rawValue, as: 3)])
        try talk(pair.first)
        close(pair.second)
        let status = try passt.wait(timeoutMilliseconds: 30000)
        #expect(status != nil)
    }

    private func close(_ descriptor: consuming OwnedDescriptor) {}

    private func talk(_ socket: consuming OwnedDescriptor) throws {
        let device = try NetworkDevice(NetworkHarness.configuration(), stream: socket)
        let net = try NetworkHarness(device)
        try net.post(4, of: 2048)
        let gateway: [UInt8] = [10, 0, 0, 1]
        let request: [UInt8] =
            MACAddress.broadcast.bytes + NetworkHarness.mac.bytes + [8, 6, 0, 1, 8, 0, 6, 4, 0, 1] + NetworkHarness.mac.bytes
            + [10, 0, 0, 2, 0, 0, 0, 0, 0, 0] + gateway
        try net.send(request)
        // passt announces itself over IPv6, too.
        while true {
            let frame = try net.receive().frame
            guard frame[12..<14].elementsEqual([8, 6]) else { continue }
            #expect(frame.prefix(6).elementsEqual(NetworkHarness.mac.bytes))
            #expect(frame[20..<22].elementsEqual([0, 2]))
            #expect(frame[28..<32].elementsEqual(gateway))
            return
        }
    }
}
