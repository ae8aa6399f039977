import TestSupport
import Testing
import Virtqueue

/// Notifications: none that is needed is lost, and those that were not asked for are not sent.
@Suite struct NotificationTests {
    /// Two sides that sleep unless they are notified, as real ones do on an eventfd. If ever both sleep while there is work, a notification
    /// was lost (2.7.7, 2.7.10, 2.8.14, 2.8.21.3).
    @Test(arguments: RingCase.all)
    func noSideSleepsForever(_ ring: RingCase) throws {
        for round: UInt64 in 0..<2 {
            let seed = seed(3000 + round)
            let position = round == 0 ? QueuePosition.initial : positionBeforeWrap(ring, by: 300)
            do {
                var pair = try SleepingPair(ring, seed: seed, position: position)
                try pair.run(chains: 500)
            } catch {
                throw Mismatch("\(ring), seed \(seed): \(error)")
            }
        }
    }

    /// VIRTQ_USED_F_NO_NOTIFY and avail_event, DISABLE and DESC: what the device asks for is what the driver is told, batch by batch.
    @Test(arguments: RingCase.features)
    func availableNotifications(_ ring: RingCase) throws {
        // Every comparison is made on both sides of the wrap of the 16-bit index, and through many rounds of the packed ring.
        var model = try LoopbackModel(ring, seed: seed(4000), position: positionBeforeWrap(ring, by: 300))
        for lap in 0..<200 {
            let asked = lap % 3 != 0
            if asked {
                let more = try model.device.enableNotifications()
                try require(!more, "\(ring): nothing is available")
            } else {
                model.device.disableNotifications()
            }
            var told: [Bool] = []
            for _ in 0..<3 {
                try addOne(&model)
                told.append(try model.publishAvailable())
            }
            // With event indices one notification for the entry that was named; without them one for each batch.
            let expected = asked ? (ring.features.eventIndex ? [true, false, false] : [true, true, true]) : [false, false, false]
            try require(told == expected, "\(ring), lap \(lap), asked \(asked): \(told)")
            try giveBack(&model)
        }
    }

    /// VIRTQ_AVAIL_F_NO_INTERRUPT and used_event, DISABLE and DESC, in the other direction.
    @Test(arguments: RingCase.features)
    func usedNotifications(_ ring: RingCase) throws {
        var model = try LoopbackModel(ring, seed: seed(4100), position: positionBeforeWrap(ring, by: 300))
        for lap in 0..<200 {
            let asked = lap % 3 != 0
            let more = model.driver.setUsedNotifications(asked)
            try require(!more, "\(ring): nothing is used")
            for _ in 0..<3 { try addOne(&model) }
            _ = try model.publishAvailable()
            var told: [Bool] = []
            for _ in 0..<3 {
                try popOne(&model)
                _ = try model.complete()
                told.append(try model.publishUsed())
            }
            let expected = asked ? (ring.features.eventIndex ? [true, false, false] : [true, true, true]) : [false, false, false]
            try require(told == expected, "\(ring), lap \(lap), asked \(asked): \(told)")
            while try model.take() {}
        }
    }

    /// Not before so many are used where chains are entries, never later, and in any case with the last one.
    @Test(arguments: RingCase.features)
    func usedNotificationsAfter(_ ring: RingCase) throws {
        for wanted in [0, 1, 2, 3, 100] {
            var model = try LoopbackModel(ring, seed: seed(4150), position: positionBeforeWrap(ring, by: 20))
            for lap in 0..<40 {
                for _ in 0..<3 { try addOne(&model) }
                _ = try model.publishAvailable()
                // What the device cannot see yet must not be waited for.
                try addOne(&model)
                let more = model.driver.requestUsedNotification(after: wanted)
                try require(!more, "\(ring): nothing is used")
                var told: [Bool] = []
                for _ in 0..<3 {
                    try popOne(&model)
                    _ = try model.complete()
                    told.append(try model.publishUsed())
                }
                let last = min(max(wanted, 1), 3)
                if !ring.features.eventIndex {
                    try require(told == [true, true, true], "\(ring), lap \(lap): \(told)")
                } else if ring.features.format == .split {
                    try require(told == (1...3).map { $0 == last }, "\(ring), lap \(lap), wanted \(wanted): \(told)")
                } else {
                    let first = (told.firstIndex(of: true) ?? 3) + 1
                    let count = told.count { $0 }
                    try require(first <= last && count == 1, "\(ring), lap \(lap), wanted \(wanted): \(told)")
                }
                let late = model.driver.requestUsedNotification(after: wanted)
                try require(late, "\(ring): chains are used")
                while try model.take() {}
                _ = try model.publishAvailable()
                try popOne(&model)
                _ = try model.complete()
                _ = try model.publishUsed()
                while try model.take() {}
            }
        }
    }

    /// A batch that begins before the named entry and ends behind it needs one notification (2.7.7.2: "reached used_event + 1").
    @Test(arguments: RingCase.features)
    func batchAcrossTheEvent(_ ring: RingCase) throws {
        for distance in 0..<8 {
            var model = try LoopbackModel(ring, seed: seed(4200), position: positionBeforeWrap(ring, by: distance))
            _ = try model.device.enableNotifications()
            for _ in 0..<3 { try addOne(&model) }
            let wanted = try model.publishAvailable()
            #expect(wanted, "\(ring): the batch begins at the named entry")
            while try model.pop() {}
            for _ in 0..<3 { try addOne(&model) }
            let unwanted = try model.publishAvailable()
            #expect(unwanted == !ring.features.eventIndex, "\(ring): the named entry lies behind")
        }
    }

    /// The device wakes up: looking again after asking is what closes the gap between the last pop and the request.
    @Test(arguments: RingCase.features)
    func askingLooksAgain(_ ring: RingCase) throws {
        var model = try LoopbackModel(ring, seed: seed(4300))
        model.device.disableNotifications()
        try addOne(&model)
        let told = try model.publishAvailable()
        #expect(!told)
        let available = try model.device.enableNotifications()
        #expect(available, "the chain came before the request, so no notification will")
        try popOne(&model)
        model.driver.setUsedNotifications(false)
        _ = try model.complete()
        let wanted = try model.publishUsed()
        #expect(!wanted)
        let used = model.driver.setUsedNotifications(true)
        #expect(used)
    }

    /// The words that the other side reads, at the offsets of the specification.
    @Test func requestsInMemory() throws {
        for ring in RingCase.features {
            var model = try LoopbackModel(ring, seed: seed(4400))
            let layout = model.layout.configuration
            let size = UInt64(ring.size)
            model.device.disableNotifications()
            model.driver.setUsedNotifications(false)
            switch (ring.features.format, ring.features.eventIndex) {
            case (.split, false):
                #expect(model.memory.load(UInt16.self, at: layout.deviceArea) == 1)
                #expect(model.memory.load(UInt16.self, at: layout.driverArea) == 1)
            case (.split, true):
                // 2.7.7.1 and 2.7.10.2: with VIRTIO_F_EVENT_IDX the flags stay 0.
                #expect(model.memory.load(UInt16.self, at: layout.deviceArea) == 0)
                #expect(model.memory.load(UInt16.self, at: layout.driverArea) == 0)
            case (.packed, _):
                #expect(model.memory.load(UInt16.self, at: layout.deviceArea + 2) == 1)
                #expect(model.memory.load(UInt16.self, at: layout.driverArea + 2) == 1)
            }
            for _ in 0..<3 { try addOne(&model) }
            _ = try model.publishAvailable()
            try popOne(&model)
            try popOne(&model)
            while try model.complete() {}
            _ = try model.publishUsed()
            while try model.take() {}
            let position = model.device.position
            _ = try model.device.enableNotifications()
            model.driver.setUsedNotifications(true)
            let wrapBit: UInt16 = position.availableWrap ? 0x8000 : 0
            switch (ring.features.format, ring.features.eventIndex) {
            case (.split, false):
                #expect(model.memory.load(UInt16.self, at: layout.deviceArea) == 0)
                #expect(model.memory.load(UInt16.self, at: layout.driverArea) == 0)
            case (.split, true):
                #expect(model.memory.load(UInt16.self, at: layout.deviceArea + 4 + 8 * size) == 2, "avail_event")
                #expect(model.memory.load(UInt16.self, at: layout.driverArea + 4 + 2 * size) == 2, "used_event")
            case (.packed, false):
                #expect(model.memory.load(UInt16.self, at: layout.deviceArea + 2) == 0)
                #expect(model.memory.load(UInt16.self, at: layout.driverArea + 2) == 0)
            case (.packed, true):
                #expect(model.memory.load(UInt16.self, at: layout.deviceArea + 2) == 2)
                #expect(model.memory.load(UInt16.self, at: layout.deviceArea) == position.available | wrapBit)
                #expect(model.memory.load(UInt16.self, at: layout.driverArea + 2) == 2)
            }
        }
    }

    private func addOne(_ model: inout LoopbackModel) throws {
        let none: [DriverBuffer] = []
        let buffer = [DriverBuffer(address: model.layout.data, count: 0)]
        try model.add(readable: none, writable: buffer)
    }

    private func popOne(_ model: inout LoopbackModel) throws {
        let popped = try model.pop(mayRewind: false)
        try require(popped, "there is a chain to pop")
    }

    private func giveBack(_ model: inout LoopbackModel) throws {
        while try model.pop(mayRewind: false) {}
        while try model.complete() {}
        _ = try model.publishUsed()
        while try model.take() {}
    }
}

/// A driver and a device that take turns at random; each works until it has nothing to do, asks for a notification, and sleeps.
struct SleepingPair: ~Copyable {
    var model: LoopbackModel
    var deviceAwake = true
    var driverAwake = true
    /// Chains published by the one side since the other asked not to be told; nil while it wants to be told.
    var availableWhileMuted: Int?
    var usedWhileMuted: Int?

    init(_ ring: RingCase, seed: UInt64, position: QueuePosition) throws {
        var model = try LoopbackModel(ring, seed: seed, position: position)
        // As after a restore: both ask anew, and whatever is there is seen.
        _ = try model.device.enableNotifications()
        model.driver.setUsedNotifications(true)
        self.model = model
    }

    mutating func run(chains: Int) throws {
        var steps = 0
        while model.finished < chains {
            steps += 1
            try require(steps < chains * 200, "no progress after \(steps) steps")
            // I/O that the device holds ends some time, notifications or not.
            if !deviceAwake, !model.held.isEmpty, model.random.oneIn(8) { deviceAwake = true }
            switch (driverAwake, deviceAwake) {
            case (true, true): if model.random.oneIn(2) { try driverTurn(chains) } else { try deviceTurn() }
            case (true, false): try driverTurn(chains)
            case (false, true): try deviceTurn()
            case (false, false):
                if !model.held.isEmpty {
                    deviceAwake = true
                } else {
                    throw Mismatch(
                        "both sides sleep: \(model.finished) of \(chains) done, \(model.waitingCount) available, "
                            + "\(model.returnedCount) used")
                }
            }
        }
    }

    private mutating func driverTurn(_ chains: Int) throws {
        if usedWhileMuted == nil, model.random.oneIn(2) {
            model.driver.setUsedNotifications(false)
            usedWhileMuted = 0
        }
        for _ in 0..<model.random.within(0...6) { guard try model.take() else { break } }
        for _ in 0..<model.random.within(0...6) {
            guard model.nextSerial < chains, try model.add() else { break }
        }
        if model.random.oneIn(2) { try publishAvailable() }
        guard model.random.oneIn(3) else { return }
        // Going to sleep: everything is taken and published first.
        while try model.take() {}
        try publishAvailable()
        usedWhileMuted = nil
        // It waits for something only; whether it could add more meanwhile does not matter.
        if !model.driver.setUsedNotifications(true), !model.requests.isEmpty { driverAwake = false }
    }

    private mutating func publishAvailable() throws {
        let count = model.added.count
        let notify = try model.publishAvailable()
        if notify {
            deviceAwake = true
            if let muted = availableWhileMuted { try require(muted + count >= 65_000, "a muted device was notified") }
        }
        if let muted = availableWhileMuted { availableWhileMuted = muted + count }
    }

    private mutating func deviceTurn() throws {
        if availableWhileMuted == nil, model.random.oneIn(2) {
            model.device.disableNotifications()
            availableWhileMuted = 0
        }
        for _ in 0..<model.random.within(0...6) { guard try model.pop() else { break } }
        for _ in 0..<model.random.within(0...6) { guard try model.complete() else { break } }
        if model.random.oneIn(2) { try publishUsed() }
        guard model.random.oneIn(3) else { return }
        while try model.pop() {}
        try publishUsed()
        availableWhileMuted = nil
        if try !model.device.enableNotifications() { deviceAwake = false }
    }

    private mutating func publishUsed() throws {
        let count = model.completed.count
        let notify = try model.publishUsed()
        if notify {
            driverAwake = true
            if let muted = usedWhileMuted { try require(muted + count >= 65_000, "a muted driver was notified") }
        }
        if let muted = usedWhileMuted { usedWhileMuted = muted + count }
    }
}
