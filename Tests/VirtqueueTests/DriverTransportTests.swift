import Testing
import Virtqueue

/// What a driver's transport does by itself: the initialisation of a device (virtio 1.3, 3.1.1) and consistent reads (2.5.3).
@Suite struct DriverTransportTests {
    private static func transport() -> FakeTransport { FakeTransport(BouncingHAL(pages: 1, bounces: 1), RingFeatures()) }

    @Test func initialisation() throws {
        var transport = Self.transport()
        transport.deviceFeatures = 1 << 32 | 1 << 29 | 1 << 5
        let accepted = try transport.begin(wanted: 1 << 29 | 1 << 28, required: 1 << 32)
        #expect(accepted == 1 << 32 | 1 << 29)
        #expect(transport.driverFeatures == accepted, "what is not offered is not accepted")
        try transport.finish()
        // Reset, ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK, and never one without those before it.
        #expect(transport.statusWrites == [0, 1, 3, 11, 15])
        #expect(!transport.needsReset)
    }

    @Test func aMissingFeature() throws {
        var transport = Self.transport()
        transport.deviceFeatures = 1 << 5
        #expect(throws: NegotiationError.missingFeatures(1 << 32)) { _ = try transport.begin(wanted: 1 << 5, required: 1 << 32) }
        #expect(transport.status & 128 != 0 && transport.driverFeatures == 0)
    }

    @Test func aChoiceThatTheDeviceRefuses() throws {
        var transport = Self.transport()
        transport.refusedStatus = 8
        #expect(throws: NegotiationError.refused(1 << 32)) { _ = try transport.begin(wanted: 0, required: 1 << 32) }
        #expect(transport.status & 128 != 0)
    }

    @Test func aDeviceThatNeedsAReset() throws {
        var transport = Self.transport()
        _ = try transport.begin(wanted: 1 << 32)
        transport.status = 64 | 11
        #expect(throws: NegotiationError.needsReset) { try transport.finish() }
        #expect(transport.needsReset)
    }

    /// A change between two reads is noticed, and both are read again.
    @Test func consistentReads() {
        let transport = Self.transport()
        transport.generations = [1, 2, 2, 2]
        var rounds = 0
        let value = transport.readConsistently { transport in
            rounds += 1
            return transport.configuration(at: 8, as: UInt32.self)
        }
        #expect(value == 0x0b0a_0908 && rounds == 2)
        transport.setConfiguration(0xbeef as UInt16, at: 8)
        #expect(transport.configuration(at: 8, as: UInt64.self) == 0x0f0e_0d0c_0b0a_beef)
    }

    /// A device cannot hold its driver up by changing for ever.
    @Test func readsThatAreNeverConsistent() {
        let transport = Self.transport()
        transport.generations = Array(1...1000)
        var rounds = 0
        transport.readConsistently { _ in rounds += 1 }
        #expect(rounds == 100)
    }

    @Test(arguments: allRingFeatures)
    func ringFeatureBits(_ features: RingFeatures) {
        #expect(RingFeatures(featureBits: features.featureBits) == features)
        #expect(RingFeatures(featureBits: features.featureBits | ~(1 << 28 | 1 << 29 | 1 << 34)) == features)
    }

    /// Every error is a sentence.
    @Test func descriptions() {
        let errors: [VirtQueueError] = [
            .size(3, maximum: 2), .alreadyUsed(1), .noMemory(pages: 1), .badMemory(.indirectNested), .notTaken(1), .emptyBuffer(0),
            .notShared(0), .refused(.noBuffers), .notIdle(inFlight: 1), .notReady, .wrongToken(1, next: 2), .device(.unknownBuffer(1)),
            .timedOut, .stopped,
        ]
        #expect(Set(errors.map(\.description)).count == errors.count)
    }
}
