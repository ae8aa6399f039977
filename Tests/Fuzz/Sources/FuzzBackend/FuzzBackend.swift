import FuzzSupport
import Host
import VhostUser
import Virtio

/// A script of messages and of writes into RAM, against a back-end that serves a real device (`Conversation`).
@main
enum FuzzBackend {
    static func main() { FuzzTarget(seeds: { Seeds.all }) { try feed($0) }.main() }

    private static func feed(_ input: [UInt8]) throws {
        var script = Script(input)
        // Of its own in each run, so that an input does the same when it is repeated.
        let kind = script.byte()
        let device = try DeviceKind.of(kind).make()
        let backend = VhostUserBackend(device, takesControl: kind & 0x80 != 0) { sentence in
            guard !sentence.isEmpty else { fatalError("A report says nothing.") }
        }
        let pair = try SocketPair()
        let theirs = Slot(try pair.second.duplicate())
        let worker = try WorkerThread(name: "backend", state: VhostUserError?.none) { failure, stop in
            guard let socket = theirs.take() else { return }
            do throws(VhostUserError) { try backend.serve(socket, stop: stop) } catch { failure = error }
        }
        try converse(try pair.first.duplicate(), consume pair, device, &script)
        if let failure = worker.stop() ?? nil, !failure.description.hasSuffix(".") { fatalError("No sentence: \(failure)") }
        guard try device.sleep() == nil else { fatalError("The device goes on although its front-end has left.") }
    }

    /// The duplicates are what is used: the pair itself ends here, so that an end is seen.
    private static func converse(
        _ socket: consuming OwnedDescriptor, _ pair: consuming SocketPair, _ device: any VirtioDevice, _ script: inout Script
    ) throws {
        _ = consume pair
        let conversation = try Conversation(socket, queueSizes: Array(device.queueMaxSizes.prefix(device.dataQueueCount)))
        conversation.run(&script)
        try conversation.end()
    }
}
