import Host
import Schema
import Testing
import Virtio
import Virtqueue

@testable import Devices

@Suite("Network control queue and personality")
struct NetworkControlTests {
    static let other = MACAddress(value: 0x5254_0000_0001)
    static let group = MACAddress(value: 0x0100_5e00_0001)

    private func personality(pairs: Int = 4) -> NetworkPersonality {
        var personality = NetworkPersonality(
            mac: NetworkHarness.mac, mtu: 1400, maxPairs: pairs, packedRing: true,
            offloads: Features.netGuestOffloads.union(.netHostOffloads))
        personality.acknowledge(personality.offered)
        return personality
    }

    private func table(_ unicast: [MACAddress], _ multicast: [MACAddress]) -> [UInt8] {
        [1, 0] + [unicast, multicast].flatMap { [UInt8($0.count), 0, 0, 0] + $0.flatMap(\.bytes) }
    }

    @Test("5.1.3.1 every offered feature comes with those that it requires")
    func requirements() {
        let needs: [(Features, [Features])] = [
            (.netGuestTSO4, [.netGuestChecksum]), (.netGuestTSO6, [.netGuestChecksum]), (.netGuestUFO, [.netGuestChecksum]),
            (.netGuestECN, [.netGuestTSO4, .netGuestTSO6]), (.netHostTSO4, [.netChecksum]), (.netHostTSO6, [.netChecksum]),
            (.netHostECN, [.netHostTSO4, .netHostTSO6]), (.netHostUFO, [.netChecksum]), (.netControlReceive, [.netControlQueue]),
            (.netMultiQueue, [.netControlQueue]), (.netControlMAC, [.netControlQueue]), (.netControlGuestOffloads, [.netControlQueue]),
        ]
        for offloads in [[], Features.netGuestOffloads.union(.netHostOffloads)] {
            for pairs in [1, 3] {
                let offered = NetworkPersonality(
                    mac: NetworkHarness.mac, mtu: nil, maxPairs: pairs, packedRing: false, offloads: offloads
                ).offered
                for (feature, required) in needs where offered.contains(feature) {
                    #expect(required.contains { offered.contains($0) })
                }
                #expect(offered.contains(.netMultiQueue) == (pairs > 1))
                #expect(!offered.contains(.netMTU))
            }
        }
    }

    @Test("5.1.2 the control queue follows the queues that were negotiated")
    func controlQueueIndex() {
        var personality = personality()
        #expect(personality.controlQueue == 8)
        personality.acknowledge(personality.offered.subtracting(.netMultiQueue))
        #expect(personality.controlQueue == 2)
    }

    @Test("5.1.4 configuration space: address, status, pairs, MTU; zero beyond")
    func configuration() throws {
        let (net, _) = try NetworkHarness.stream()
        #expect((0..<6).map { net.harness.configuration(at: $0, as: UInt8.self) } == NetworkHarness.mac.bytes)
        #expect(net.harness.configuration(at: 8, as: UInt16.self) == 1)
        #expect(net.harness.configuration(at: 10, as: UInt16.self) == 1500)
        #expect(net.harness.configuration(at: 12, as: UInt32.self) == 0)
        #expect(net.harness.configuration(at: Int.max, as: UInt32.self) == 0)
    }

    @Test("5.1.6.5.2.1 the address is another before the command is used, and the old one after a reset")
    func setAddress() throws {
        let (net, peer) = try NetworkHarness.stream()
        #expect(try net.command([1, 1] + Self.other.bytes) == 0)
        #expect((0..<6).map { net.harness.configuration(at: $0, as: UInt8.self) } == Self.other.bytes)
        try net.harness.reset()
        #expect((0..<6).map { net.harness.configuration(at: $0, as: UInt8.self) } == NetworkHarness.mac.bytes)
        _ = peer
    }

    @Test("5.1.6.5.1, 5.1.6.5.2 frames that the driver does not want are not delivered")
    func filter() throws {
        let (net, peer) = try NetworkHarness.stream()
        var random = Random(seed: 20)
        try net.post(16, of: 256)
        func delivered(_ destinations: [MACAddress]) throws -> [MACAddress] {
            // The one to itself always passes, and ends the test.
            for destination in destinations + [NetworkHarness.mac] { try peer.send(frame: frame(to: destination, 64, &random)) }
            var seen: [MACAddress] = []
            while let next = MACAddress(bytes: try net.receive().frame.prefix(6)), next != NetworkHarness.mac { seen.append(next) }
            return seen
        }
        let all = [Self.other, Self.group, .broadcast]
        #expect(try delivered(all) == all)
        #expect(try net.command([0, 0, 0]) == 0)
        #expect(try delivered(all) == [.broadcast])
        #expect(try net.command([0, 1, 1]) == 0)
        #expect(try delivered(all) == [Self.group, .broadcast])
        #expect(try net.command([0, 1, 0]) == 0)
        #expect(try net.command(table([Self.other], [])) == 0)
        #expect(try delivered(all) == [Self.other, .broadcast])
        #expect(try net.command(table([], [Self.group])) == 0)
        #expect(try delivered(all) == [Self.group, .broadcast])
    }

    @Test(
        "5.1.6.5 commands that make no sense are refused and change nothing",
        arguments: [
            [], [0], [0, 0], [0, 0, 2], [0, 9, 1], [1, 1, 1, 2, 3, 4, 5], [1, 0], [1, 0, 255, 255, 255, 255], [1, 0, 1, 0, 0, 0],
            [1, 0, 0, 0, 0, 0], [4, 0], [4, 0, 0, 0], [4, 0, 5, 0], [4, 1, 1, 0], [5, 0, 1], [5, 0, 0, 0, 0, 0, 0, 0, 0, 1], [77, 0, 0, 0],
        ] as [[UInt8]])
    func refused(_ command: [UInt8]) {
        var personality = personality()
        let before = personality
        #expect(throws: NetworkCommandError.self) { try personality.execute(command) }
        #expect(personality == before)
    }

    @Test("5.1.6.5 a command needs its feature")
    func negotiated() {
        var personality = personality()
        personality.acknowledge([.version1, .netControlQueue])
        for command in [[0, 0, 1], [1, 1, 2, 3, 4, 5, 6, 7], [4, 0, 2, 0], [5, 0, 0, 0, 0, 0, 0, 0, 0, 0]] as [[UInt8]] {
            #expect(throws: NetworkCommandError.self) { try personality.execute(command) }
        }
    }

    @Test("5.1.6.5.5, 5.1.6.5.6 pairs and offloads", arguments: [1, 2, 3, 4])
    func pairsAndOffloads(_ pairs: Int) throws {
        var personality = personality()
        #expect(personality.pairs == 1)
        #expect(try personality.execute([4, 0, UInt8(pairs), 0]) == .pairs)
        #expect(personality.pairs == pairs)
        #expect(personality.guestOffloads == .netGuestOffloads)
        #expect(try personality.execute([5, 0, 2, 0, 0, 0, 0, 0, 0, 0]) == .offloads)
        #expect(personality.guestOffloads == .netGuestChecksum)
        personality.reset()
        #expect(personality.pairs == 1)
        #expect(personality.guestOffloads == [])
    }

    @Test("A command without a place for the answer is given back; one that is too long is refused")
    func oddCommands() throws {
        let (net, _) = try NetworkHarness.stream()
        let request = net.harness.place([0, 0, 0])
        let token = try net.harness.submit(queue: 2, readable: [.init(address: request, count: 3)])
        #expect(try net.harness.wait(queue: 2, try #require(token)) == 0)
        #expect(try net.command([1, 0] + [UInt8](repeating: 0, count: 100_000)) == 1)
        #expect(try net.command([4, 0, 1, 0]) == 1)
        #expect(!net.harness.interrupts.needsReset)
    }

    @Test("What the driver set is saved, and restored into another device")
    func snapshot() throws {
        let (net, _) = try NetworkHarness.stream()
        #expect(try net.command([1, 1] + Self.other.bytes) == 0)
        #expect(try net.command([0, 0, 0]) == 0)
        #expect(try net.command(table([NetworkHarness.mac], [Self.group])) == 0)
        #expect(try net.harness.sleep())
        let saved = try net.device.snapshot()
        let (second, peer) = try NetworkHarness.streamDevice()
        #expect(try second.sleep() == nil)
        try second.restore(SavedValue(saved))
        #expect(try second.snapshot() == saved)
        second.acknowledge(net.harness.features)
        #expect(try second.snapshot() == saved)
        try net.harness.wake(second)
        #expect((0..<6).map { net.harness.configuration(at: $0, as: UInt8.self) } == Self.other.bytes)
        var random = Random(seed: 21)
        try net.post(2, of: 256)
        try peer.send(frame: frame(to: .init(value: 0x5254_0000_9999), 64, &random))
        let wanted = frame(to: Self.other, 64, &random)
        try peer.send(frame: wanted)
        #expect(try net.receive().frame == wanted)
    }

    @Test("A saved state that cannot be is refused and changes nothing")
    func badSnapshot() throws {
        var personality = personality()
        guard case .object(let good) = personality.snapshot() else { return }
        let bad: [(String, JSONValue?)] = [
            ("mac", "nonsense"), ("mac", nil), ("queuePairs", 0), ("queuePairs", 5), ("queuePairs", "2"),
            ("features", "0xffffffffffffffff"),
            ("guestOffloads", "0x1"), ("guestOffloads", "7"), ("promiscuous", 1), ("unicast", ["x"]), ("multicast", 3), ("more", true),
        ]
        for (key, value) in bad {
            var state = good
            state[key] = value
            let before = personality
            let error = #expect(throws: StateError.self, "\(key)") { try personality.restore(SavedValue(.object(state), path: "device")) }
            #expect(error?.path.hasPrefix("device.\(key)") == true, "\(key)")
            #expect(personality == before)
        }
        try personality.restore(SavedValue(.object(good)))
    }

    @Test("MAC addresses are read, written and derived")
    func addresses() {
        #expect(MACAddress("52:54:00:12:34:56") == NetworkHarness.mac)
        #expect(NetworkHarness.mac.description == "52:54:00:12:34:56")
        for text in ["", "52:54:00:12:34", "52:54:00:12:34:5", "52:54:00:12:34:5g", "52:54:00:12:34:56:78", "+1:54:00:12:34:56"] {
            #expect(MACAddress(text) == nil, "\(text)")
        }
        let derived = (0..<100).map { MACAddress(derivedFrom: "vm/net\($0)") }
        #expect(Set(derived).count == 100)
        #expect(derived.allSatisfy { !$0.isMulticast && $0.value >> 41 & 1 == 1 })
        #expect(MACAddress(derivedFrom: "vm/net0") == derived[0])
    }
}
