import Host
import TestSupport
import Testing
import Virtio

@testable import VhostUser

@Suite("Back-end against random front-ends")
struct BackendFuzzTests {
    /// A message that may make sense, and its descriptors.
    private func message(_ driver: RawDriver, _ random: inout SeededRandom) -> (FrontEndMessage, [Int32]) {
        let queue = driver.queue
        let ring = RingState(index: random.oneIn(30) ? 1 : 0, value: random.pick([0, 1, 64, 32, 3, 0x8000_8000, 0x8003_8003]))
        let event = RingDescriptor(index: 0, isPresent: !random.oneIn(20))
        let page = UInt64(random.below(8)) << 12
        var region = MemoryRegionDescription(
            guestAddress: random.pick([0, 1 << 32]) + page, size: random.pick([4096, 1 << 16, 1 << 20]),
            userAddress: RawDriver.userBase + page, fileOffset: random.pick([0, 4096, page]))
        if random.oneIn(2) { region = driver.region }
        var addresses = queue.addresses
        if random.oneIn(4) { addresses.deviceArea = random.pick([addresses.descriptorArea, addresses.deviceArea + 2, 0]) }
        let descriptor = [queue.call.rawValue]
        let version1 = Features.version1.rawValue
        let announced = version1 | ProtocolFeatures.announcement
        let features: [UInt64] = [version1, announced, announced | Features.ringPacked.rawValue, 0]
        let notes = InFlightDescription(
            size: random.pick([0, 4096, 1 << 16, .max]), offset: random.pick([0, 4096, 3]), queueCount: UInt16(random.below(3)),
            queueSize: random.pick([64, 64, 1, 0, .max]))
        switch random.below(25) {
        case 0: return (.setFeatures(random.pick(features)), [])
        case 1: return (.setMemoryTable([region]), [driver.file])
        case 2: return (.addMemoryRegion(region), [driver.file])
        case 3: return (.removeMemoryRegion(region), [])
        case 4: return (.setRingSize(ring), [])
        case 5: return (.setRingBase(ring), [])
        case 6, 7: return (.setRingAddresses(addresses), [])
        case 8, 9: return (.getRingBase(ring), [])
        case 10, 11: return (.setRingKick(event), event.isPresent ? [queue.kick.rawValue] : [])
        case 12: return (.setRingCall(event), event.isPresent ? descriptor : [])
        case 13: return (.setRingError(event), event.isPresent ? descriptor : [])
        case 14, 15, 16: return (.setRingEnable(RingState(index: 0, value: UInt32(random.below(2)))), [])
        case 17: return (.setStatus(random.pick([0, 15, 15, 15])), [])
        case 18: return (random.pick([.resetDevice, .getStatus, .getFeatures, .setOwner]), [])
        case 19: return (.getInFlight(notes), [])
        // RAM itself: what the log says is then whatever lies there, and what is noted changes it.
        case 20, 21: return (.setInFlight(notes), [driver.file])
        case 22: return (.setDeviceStateDescriptor(DeviceStateTransfer(random.oneIn(2) ? .save : .load)), [driver.file])
        case 23: return (.checkDeviceState, [])
        default: return (random.pick(Samples.messages), [])
        }
    }

    @Test("300 front-ends that send what comes to mind end with a sentence or in peace, and never harm the next one")
    func random() throws {
        let service = try Service()
        var random = SeededRandom(seed: 77)
        var peaceful = 0
        for _ in 0..<300 {
            let driver = try RawDriver(try service.connect())
            if !random.oneIn(3) { try driver.greet() }
            if random.oneIn(2) {
                try driver.shareMemory()
                try driver.queue.start(on: driver.peer)
            }
            for _ in 0..<random.within(1...40) {
                let (message, descriptors) = message(driver, &random)
                // It may have ended already.
                guard (try? driver.peer.send(message, needsReply: random.oneIn(4), passing: descriptors)) != nil else { break }
                driver.queue.kick.signal()
            }
            driver.peer.leave()
            if let failure = try driver.connection.failure() {
                #expect(failure.kind == .violation, "\(failure)")
                #expect(failure.description.hasSuffix("."))
            } else {
                peaceful += 1
            }
            #expect(try !service.wasLeftActive())
        }
        #expect(peaceful > 10)
        let driver = try RawDriver(try service.connect())
        try driver.start()
        #expect(try driver.works())
        driver.peer.leave()
        #expect(try driver.connection.failure() == nil)
    }
}
