import Host
import Synchronization
import Virtio
import Virtqueue

/// What a worker waits for.
private enum Event: UInt64 {
    case stop, receiveKick, transmitKick, link
}

/// Which events a wait has reported.
private struct ReadyEvents {
    private var bits: UInt64 = 0

    mutating func insert(_ event: PollEvent) {
        guard let kind = Event(rawValue: event.token) else { return }
        if event.readable { bits |= 1 << (2 * kind.rawValue) }
        if event.writable { bits |= 2 << (2 * kind.rawValue) }
    }
    func isReadable(_ kind: Event) -> Bool { bits & 1 << (2 * kind.rawValue) != 0 }
    func isWritable(_ kind: Event) -> Bool { bits & 2 << (2 * kind.rawValue) != 0 }
}

/// Why a batch ended.
enum BatchEnd {
    /// There is more to do at once.
    case more
    /// Everything is done: a frame, or a chain, will be announced.
    case idle
    /// The other side of the pair must do something first: the driver give buffers, or the link take frames.
    case blocked
}

extension QueuePair where Link: ~Copyable {
    /// Moves frames both ways until `stop` becomes readable.
    mutating func process(_ context: DeviceContext, until stop: EventFD) throws(PairFailure) {
        let poller = try makePoller(stop)
        var interest = PollInterest(link.rawDescriptor, token: Event.link.rawValue)
        var receiving = BatchEnd.more
        var sending = BatchEnd.more
        while true {
            if receiving == .more { receiving = try receiveBatch(context) }
            if sending == .more { sending = try transmitBatch(context) }
            let isUp = state.isUp.load(ordering: .relaxed) && isEnabled
            // What waits for a link that has gone is lost.
            if !isUp, sending == .blocked { sending = .more }
            let wantsFrames = isUp && receiver != nil && receiving == .idle
            let isBusy = receiving == .more || sending == .more
            var ready = ReadyEvents()
            do throws(SystemError) {
                try interest.update(poller, readable: wantsFrames, writable: isUp && link.wantsToWrite)
                try poller.wait(timeoutMilliseconds: isBusy ? 0 : nil) { ready.insert($0) }
            } catch {
                throw .system(error)
            }
            if ready.isReadable(.stop) { return }
            if ready.isReadable(.receiveKick), receiver?.kick.drain() != nil { receiving = .more }
            if ready.isReadable(.transmitKick), transmitter?.kick.drain() != nil, sending == .idle { sending = .more }
            if ready.isReadable(.link), receiving == .idle { receiving = .more }
            if ready.isWritable(.link) {
                do throws(LinkDown) { try link.flush() } catch { linkWentDown(error, context) }
                if !link.wantsToWrite { sending = .more }
            }
        }
    }

    private mutating func makePoller(_ stop: EventFD) throws(PairFailure) -> Poller {
        do throws(SystemError) {
            let poller = try Poller()
            try poller.add(stop.rawValue, token: Event.stop.rawValue)
            if let raw = receiver?.kick.rawValue { try poller.add(raw, token: Event.receiveKick.rawValue) }
            if let raw = transmitter?.kick.rawValue { try poller.add(raw, token: Event.transmitKick.rawValue) }
            return poller
        } catch {
            throw .system(error)
        }
    }

    /// Tells the driver, and says so once.
    func linkWentDown(_ failure: LinkDown, _ context: DeviceContext) {
        guard state.isUp.exchange(false, ordering: .acquiringAndReleasing) else { return }
        context.warn("the link is down: \(failure.reason)")
        context.interrupt.signalConfigurationChange()
    }
}
