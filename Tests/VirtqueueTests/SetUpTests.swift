import Testing
import Virtqueue

/// What is checked before a queue exists, and where it stands.
@Suite struct SetUpTests {
    /// The tables of 2.7 and 2.8.10.1.
    @Test func areaSizesAndAlignments() {
        #expect(RingFormat.split.byteCount(of: .descriptor, size: 256) == 16 * 256)
        #expect(RingFormat.split.byteCount(of: .driver, size: 256) == 6 + 2 * 256)
        #expect(RingFormat.split.byteCount(of: .device, size: 256) == 6 + 8 * 256)
        #expect(RingFormat.packed.byteCount(of: .descriptor, size: 100) == 16 * 100)
        #expect(RingFormat.packed.byteCount(of: .driver, size: 100) == 4)
        #expect(RingFormat.packed.byteCount(of: .device, size: 100) == 4)
        #expect(RingArea.allCases.map { RingFormat.split.alignment(of: $0) } == [16, 2, 4])
        #expect(RingArea.allCases.map { RingFormat.packed.alignment(of: $0) } == [16, 4, 4])
    }

    /// Making a queue, for its fault only.
    private func fault(
        _ configuration: QueueConfiguration, _ features: RingFeatures, position: QueuePosition = .initial, _ memory: TestMemory
    ) -> QueueFault? {
        do throws(QueueFault) {
            _ = try DeviceQueue(configuration, features: features, position: position, memory: memory)
            return nil
        } catch {
            return error.description.isEmpty ? nil : error
        }
    }

    /// Both sides check the same things in the same place; the driver's one as well.
    private func driverFault(_ configuration: QueueConfiguration, _ features: RingFeatures, _ memory: TestMemory) -> QueueFault? {
        do throws(QueueFault) {
            _ = try DriverQueue(configuration, features: features, memory: memory)
            return nil
        } catch {
            return error
        }
    }

    @Test func sizes() {
        for format in [RingFormat.split, .packed] {
            let features = RingFeatures(format: format)
            for size: UInt16 in [0, 1, 2, 3, 4, 5, 100, 128, 129, 255, 256, 257, 32768, 32769, 65535] {
                let ring = RingCase(features: features, size: min(max(size, 1), 32768))
                let layout = TestLayout(ring)
                let memory = layout.memory(dataBytes: 0)
                var configuration = layout.configuration
                configuration.size = size
                let legal = size >= 1 && size <= 32768 && (format == .packed || size & (size - 1) == 0)
                let expected: QueueFault? = legal ? nil : .size(size, maximum: 32768)
                #expect(fault(configuration, features, memory) == expected)
                #expect(driverFault(configuration, features, memory) == expected)
                // More than the device offers, although the format allows it.
                var small = QueueConfiguration(maxSize: 4)
                small.size = size
                (small.descriptorArea, small.driverArea) = (configuration.descriptorArea, configuration.driverArea)
                small.deviceArea = configuration.deviceArea
                #expect(fault(small, features, memory) == (legal && size <= 4 ? nil : .size(size, maximum: 4)))
            }
        }
    }

    @Test func alignment() {
        for ring in RingCase.features {
            let layout = TestLayout(ring)
            let memory = layout.memory(dataBytes: 4096)
            let alignments: [(WritableKeyPath<QueueConfiguration, UInt64>, RingArea, UInt64)] = [
                (\.descriptorArea, .descriptor, 16), (\.driverArea, .driver, ring.features.format == .split ? 2 : 4),
                (\.deviceArea, .device, 4),
            ]
            for (path, area, alignment) in alignments {
                for offset in 0...16 as ClosedRange<UInt64> {
                    var configuration = layout.configuration
                    configuration[keyPath: path] = layout.data + offset
                    let expected: QueueFault? = offset % alignment == 0 ? nil : .misaligned(area, address: layout.data + offset)
                    #expect(fault(configuration, ring.features, memory) == expected)
                }
            }
        }
    }

    @Test func areasInsideMemory() {
        for ring in RingCase.features {
            let layout = TestLayout(ring)
            let memory = layout.memory(dataBytes: 4096)
            let paths: [(WritableKeyPath<QueueConfiguration, UInt64>, RingArea)] = [
                (\.descriptorArea, .descriptor), (\.driverArea, .driver), (\.deviceArea, .device),
            ]
            for (path, area) in paths {
                let bytes = ring.features.format.byteCount(of: area, size: ring.size)
                let last = (memory.end - UInt64(bytes)) & ~15
                let cases: [(UInt64, Bool)] = [
                    (0, false), (TestMemory.address - 16, false), (last, true), (last + 16, false), (memory.end, false),
                    (UInt64.max & ~15, false), (1 << 63, false),
                ]
                for (address, legal) in cases {
                    var configuration = layout.configuration
                    configuration[keyPath: path] = address
                    let expected: QueueFault? = legal ? nil : .areaOutsideMemory(area, address: address, bytes: bytes)
                    #expect(fault(configuration, ring.features, memory) == expected, "\(area) at \(address)")
                }
            }
        }
    }

    /// A saved position must be one that a queue of this size can have.
    @Test func positions() {
        let split = RingCase(features: RingFeatures(format: .split), size: 8)
        let packed = RingCase(features: RingFeatures(format: .packed), size: 7)
        let cases: [(RingCase, QueuePosition, Bool)] = [
            (split, QueuePosition(available: 65535, used: 65535), true), (split, QueuePosition(available: 2, used: 65530), true),
            (split, QueuePosition(available: 3, used: 65530), false), (split, QueuePosition(available: 0, used: 1), false),
            (packed, QueuePosition(available: 6, used: 6), true), (packed, QueuePosition(available: 7, used: 6), false),
            (packed, QueuePosition(available: 0, used: 7), false), (packed, QueuePosition(available: 65535, used: 65535), false),
            (packed, QueuePosition(available: 3, used: 4), false),
            (packed, QueuePosition(available: 3, availableWrap: false, used: 4), true),
            (packed, QueuePosition(available: 4, availableWrap: false, used: 4), true),
            (packed, QueuePosition(available: 5, availableWrap: false, used: 4), false),
        ]
        for (ring, position, legal) in cases {
            let layout = TestLayout(ring)
            let memory = layout.memory(dataBytes: 0)
            let expected: QueueFault? = legal ? nil : .position(position, size: ring.size)
            #expect(fault(layout.configuration, ring.features, position: position, memory) == expected)
        }
    }

    /// Taking over a queue changes nothing in it: a restored device must find what it left.
    @Test func takingOverWritesNothing() throws {
        for ring in RingCase.features {
            let layout = TestLayout(ring)
            let memory = layout.memory(dataBytes: 0)
            memory.all.fill(0xa5)
            _ = try DeviceQueue(layout.configuration, features: ring.features, memory: memory)
            for address in TestMemory.address..<layout.data where memory[address] != 0xa5 {
                Issue.record("\(ring): byte \(address) was written")
            }
        }
    }

    @Test func registersAfterReset() {
        let configuration = QueueConfiguration(maxSize: 256)
        #expect(configuration.size == 256 && !configuration.ready)
        #expect(RingArea.allCases.allSatisfy { configuration.address(of: $0) == 0 })
        #expect(QueuePosition.initial == QueuePosition(available: 0, availableWrap: true, used: 0, usedWrap: true))
    }

    /// Indirect tables of the driver must lie in memory.
    @Test func driverTables() throws {
        let ring = RingCase(features: RingFeatures(format: .split, indirect: true), size: 8)
        let layout = TestLayout(ring)
        let memory = layout.memory(dataBytes: 0)
        for (tables, legal) in [
            (IndirectTables(address: memory.end - 8 * 4 * 16, entries: 4), true),
            (IndirectTables(address: memory.end - 8 * 4 * 16 + 16, entries: 4), false),
            (IndirectTables(address: UInt64.max, entries: 4), false), (IndirectTables(address: layout.tables.address, entries: 9), false),
        ] {
            do throws(QueueFault) {
                _ = try DriverQueue(layout.configuration, features: ring.features, memory: memory, indirectTables: tables)
                #expect(legal)
            } catch {
                #expect(!legal)
            }
        }
    }
}
