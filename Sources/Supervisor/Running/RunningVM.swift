import CLinux
import GuestMemory
import Host
import Logging
import Schema
import Snapshot
import Synchronization
import VirtualMachine

/// A VM as its clients see it: one that lasts from `run` or `restore` to the end, through restarts of its guest.
final class RunningVM: ControlledVM {
    private let configurationDocument: JSONValue
    private let settings: VMConfiguration
    private let since = ControlTime.now()
    private let hub: EventHub
    /// Signalled when a client wants the VM to end; the machine's loop looks at `endRequest` then.
    let attention: EventFD
    private let current: Mutex<(any MachineControl)?> = Mutex(nil)
    private let keeper: Mutex<DeviceKeeper?> = Mutex(nil)
    private let request = Mutex<EndRequest?>(nil)
    /// Whether the VM, if it sleeps, does so for a snapshot's sake and wakes by itself.
    private let wakesSoon = Atomic(false)

    /// How a client wants the VM to end.
    enum EndRequest: Sendable {
        /// By its power button and, after a while, by force.
        case orderly
        /// At once.
        case force
    }

    init(_ settings: VMConfiguration, document: JSONValue, hub: EventHub) throws(VMError) {
        self.settings = settings
        self.hub = hub
        configurationDocument = settings.pinned(document)
        attention = try VMError.host("make an event") { () throws(SystemError) in try EventFD() }
    }

    /// Tells clients what is wrong with a device. Whoever noticed has logged it.
    var complaint: @Sendable (_ id: String, _ sentence: String) -> Void {
        let hub = hub
        return { hub.publishDeviceError(id: $0, message: $1) }
    }

    /// Starts the process that the machine is to live in.
    func startProcess(log: LogSettings) throws(VMError) -> RemoteMachine {
        let events = RemoteMachine.Events(
            lost: { [weak self] lost in self?.keeper.withLock { $0 }?.noteLost(lost) }, complaint: complaint)
        return try RemoteMachine(
            name: settings.name, memorySize: settings.memorySize, policies: settings.policyFiles, log: log, events: events)
    }

    /// From now on commands for devices' processes go to their keeper: before a machine starts, which may find one of them hanging.
    func use(_ keeper: DeviceKeeper) { self.keeper.withLock { $0 = keeper } }

    /// From now on commands go to this machine.
    func use(_ machine: any MachineControl) {
        current.withLock { $0 = machine }
        hub.publishState(machine.phase.name)
    }

    /// No machine is there for commands any more, for now or for good. While it stops it may still find a device hanging.
    func release() { current.withLock { $0 = nil } }

    /// The devices' processes have ended; nothing that they had is held any longer.
    func releaseKeeper() { keeper.withLock { $0 = nil } }

    /// What a client has asked for since the last call.
    func takeEndRequest() -> EndRequest? {
        request.withLock { request in
            defer { request = nil }
            return request
        }
    }

    /// Whether the guest runs or is about to: then it will see its power button pressed.
    func noticesPowerButton(_ machine: any MachineControl) -> Bool {
        // In this order: after a snapshot the phase is set first.
        wakesSoon.load(ordering: .sequentiallyConsistent) || machine.phase == .running
    }

    private func machine() throws(VMError) -> any MachineControl {
        guard let machine = current.withLock({ $0 }) else { throw VMError(.failure, "VM \"\(settings.name)\" is not running.") }
        return machine
    }

    // MARK: ControlledVM

    func info() -> JSONValue {
        let machine = current.withLock { $0 }
        let phase = machine?.phase ?? .stopped
        return [
            "name": .string(settings.name), "pid": .integer(Int64(PrivateDirectories.process)), "state": .string(phase.name),
            "version": .string(ProductVersion.string), "cpus": .integer(Int64(settings.cpuCount)),
            "memory": .integer(Int64(clamping: settings.memorySize)), "since": .string(since),
            "generation": machine?.generationID.map { .string($0) } ?? .null,
        ]
    }

    func configuration() -> JSONValue { configurationDocument }

    func devices() -> [JSONValue] {
        let report = current.withLock { $0 }?.deviceReport ?? []
        guard let keeper = keeper.withLock({ $0 }) else { return report }
        return report.map { device in
            guard case .object(var members) = device, case .string(let id)? = members["id"],
                case .object(let here)? = members["counters"]
            else { return device }
            // What has a process of its own counts there.
            let there = keeper.counters(of: id).mapValues { JSONValue.integer(Int64(clamping: $0)) }
            members["counters"] = .object(here.merging(there) { $1 })
            return .object(members)
        }
    }

    func sleep() throws(VMError) -> Bool {
        let machine = try machine()
        let isNew = try machine.sleep()
        if isNew { hub.publishState("asleep") }
        return isNew
    }

    func wake() throws(VMError) -> Bool {
        let machine = try machine()
        let isNew = try machine.wake()
        if isNew { hub.publishState("running") }
        return isNew
    }

    func stop(force: Bool) {
        request.withLock { $0 = force || $0 == .force ? .force : .orderly }
        attention.signal()
    }

    func upgradeDevice(_ id: String) throws(VMError) -> Int32 {
        _ = try machine()
        guard let keeper = keeper.withLock({ $0 }) else { throw VMError(.failure, "VM \"\(settings.name)\" is not running.") }
        return try keeper.upgrade(id)
    }

    func pressPowerButton() { current.withLock { $0 }?.pressPowerButton() }

    func snapshot(_ request: SnapshotRequest) throws(VMError) -> JSONValue {
        let machine = try machine()
        let base = try request.base.map { (path) throws(VMError) in try SavedSnapshot(path: path) }
        if let base, base.manifest.memorySize != settings.memorySize {
            throw VMError(
                .resource, "\(base.path): expected a snapshot with \(settings.memorySize) bytes of RAM, found \(base.manifest.memorySize).")
        }
        let id = hexString(try VMError.host("read entropy") { () throws(SystemError) in try randomBytes(16) })
        let writer = try SnapshotWriter.begin(at: request.directory)
        // Only commands put the machine to sleep and wake it, and this is the one that is carried out.
        wakesSoon.store(
            request.then == .wake || request.then == nil && machine.phase == .running, ordering: .sequentiallyConsistent)
        defer { wakesSoon.store(false, ordering: .sequentiallyConsistent) }
        let wasRunning = try sleep()
        let saved: SavedImage
        do throws(VMError) {
            saved = try machine.save(
                memory: writer.memory, state: writer.state, base: base.map { SavedBase(digest: $0.digest, layers: $0.layers) },
                digest: request.digest)
        } catch {
            if wasRunning { _ = try? wake() }
            throw VMError(error.code, "\(writer.path): \(error.message) Nothing was kept.")
        }
        // What follows needs no machine that stands still. One that is to end or to sleep afterwards does so when all has gone well.
        let wakes = request.then == .wake || request.then == nil && wasRunning
        if wakes { _ = try wake() }
        let path = writer.path
        let digest: String
        do {
            digest = try writer.finish(configuration: configurationDocument) { configuration, state in
                manifest(saved, id: id, base: base, at: path, configuration: configuration, state: state)
            }
        } catch {
            // It sleeps only for the snapshot's sake, which there is not.
            if wasRunning, !wakes { _ = try? wake() }
            throw error
        }
        machine.noteSaved(as: digest)
        if request.then == .stop { stop(force: true) }
        return [
            "path": .string(path), "manifest": .string(digest), "bytes": .integer(Int64(clamping: saved.image.byteCount)),
            "kind": base == nil ? "full" : "diff", "state": .string(machine.phase.name),
            "tracked": .bool(saved.usedTracking),
        ]
    }

    private func manifest(
        _ saved: SavedImage, id: String, base: SavedSnapshot?, at path: String, configuration: Manifest.File, state: Manifest.File
    ) -> Manifest {
        let size = UInt64(settings.memorySize)
        return Manifest(
            id: id, createdAt: ControlTime.now(), producer: "swvmm \(ProductVersion.string)", name: settings.name,
            cpuVendor: saved.cpuVendor, cpuFingerprint: saved.cpuFingerprint, memorySize: size,
            extents: saved.image.extents,
            base: base.map { Manifest.Base(sha256: $0.digest, path: SnapshotFiles.relative($0.path, to: SnapshotFiles.parent(of: path))) },
            configuration: configuration, state: state,
            memory: Manifest.File(size: size, sha256: saved.image.digest.map { hexString($0) }))
    }
}
