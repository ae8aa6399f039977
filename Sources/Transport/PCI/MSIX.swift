import Host
import Hypervisor
import Synchronization

/// A function's MSI-X table and pending bits (PCI 3.0, 6.8.2), and the way from its interrupt sources to guest vectors.
///
/// A source is an eventfd that a device signals; the guest chooses a vector for it (or none), and several sources may have the same. A
/// vector that is in use has a GSI. A source is attached to the GSI of its vector while the guest can take that interrupt, so that
/// signals reach the guest without us; while the vector is masked it is detached, and signals stay in the eventfd until someone asks.
final class MSIX: Sendable {
    /// A source's vector when it has none (virtio 1.3, 4.1.5.1.2).
    static let noVector: UInt16 = 0xffff
    /// Bytes per table entry.
    static let entrySize = 16
    /// Most entries a table may have here.
    static let maxVectors = 512

    /// One entry of the table.
    struct Entry: Sendable, Equatable {
        var message = MSIMessage(address: 0, data: 0)
        /// Every vector is masked after a reset (PCI 3.0, 6.8.2.9).
        var isMasked = true
    }

    struct State: Sendable {
        var isEnabled = false
        var isFunctionMasked = false
        var entries: [Entry]
        /// Interrupts that were found in masked sources and wait for the mask to go, by vector.
        var pending: [Bool]
        /// By vector; allocated when a source first uses it and kept, because every change of a route makes the kernel wait.
        var gsis: [UInt32?]
        /// By source.
        var vectors: [UInt16]
        /// By source: the GSI that it is attached to.
        var attached: [UInt32?]
    }

    let vectorCount: Int
    private let sources: [EventFD]
    private let routing: any InterruptRouting
    private let log: GuestLog
    let state: Mutex<State>

    init(vectorCount: Int, sources: [EventFD], routing: any InterruptRouting, log: GuestLog) {
        self.vectorCount = min(max(vectorCount, 1), Self.maxVectors)
        self.sources = sources
        self.routing = routing
        self.log = log
        state = Mutex(
            State(
                entries: Array(repeating: Entry(), count: self.vectorCount), pending: Array(repeating: false, count: self.vectorCount),
                gsis: Array(repeating: nil, count: self.vectorCount), vectors: Array(repeating: Self.noVector, count: sources.count),
                attached: Array(repeating: nil, count: sources.count)))
    }

    deinit {
        state.withLock { state in
            state.isEnabled = false
            for source in sources.indices { reconcile(source, &state) }
            for gsi in state.gsis { if let gsi { routing.releaseGSI(gsi) } }
        }
    }

    /// The guest wrote message control.
    func setControl(enabled: Bool, functionMasked: Bool) {
        state.withLock { state in
            guard state.isEnabled != enabled || state.isFunctionMasked != functionMasked else { return }
            state.isEnabled = enabled
            state.isFunctionMasked = functionMasked
            for vector in 0..<vectorCount { refresh(vector, &state) }
        }
    }

    /// The vector of a source.
    func vector(of source: Int) -> UInt16 {
        state.withLock { $0.vectors.indices.contains(source) ? $0.vectors[source] : Self.noVector }
    }

    /// Gives a source a vector. One that does not exist, or that no GSI can be had for, leaves it with none (4.1.5.1.2.1).
    func setVector(_ vector: UInt16, of source: Int) {
        state.withLock { state in
            guard state.vectors.indices.contains(source), state.vectors[source] != vector else { return }
            // What a source signalled while it had no vector never becomes an interrupt.
            if state.vectors[source] == Self.noVector { sources[source].drain() }
            state.vectors[source] = reserve(vector, &state) ? vector : Self.noVector
            reconcile(source, &state)
        }
    }

    /// Takes the vectors of all sources away, and what was pending with them. The table stays: it is the bus's, not the device's.
    func resetSources() {
        for source in sources.indices { setVector(Self.noVector, of: source) }
        state.withLock { state in
            for vector in state.pending.indices { state.pending[vector] = false }
        }
    }

    // MARK: Registers

    /// A guest's read of the table: 4 or 8 bytes, aligned; any other is 0.
    func readTable(at offset: UInt64, width: Int) -> UInt64 {
        guard let (vector, word) = tablePlace(offset, width) else { return 0 }
        let entry = state.withLock { $0.entries[vector] }
        let low = entry.word(word)
        return width == 8 ? UInt64(low) | UInt64(entry.word(word + 1)) << 32 : UInt64(low)
    }

    /// A guest's write to the table, likewise.
    func writeTable(_ value: UInt64, at offset: UInt64, width: Int) {
        guard let (vector, word) = tablePlace(offset, width) else { return }
        state.withLock { state in
            let before = state.entries[vector]
            state.entries[vector].setWord(word, to: UInt32(truncatingIfNeeded: value))
            if width == 8 { state.entries[vector].setWord(word + 1, to: UInt32(truncatingIfNeeded: value >> 32)) }
            if state.entries[vector] != before { refresh(vector, &state) }
        }
    }

    /// A guest's read of the pending bits: 4 or 8 bytes, aligned; any other is 0.
    func readPending(at offset: UInt64, width: Int) -> UInt64 {
        guard width == 4 || width == 8, offset % UInt64(width) == 0, offset < UInt64(Self.maxVectors / 8) else { return 0 }
        return state.withLock { state in
            collectPending(&state)
            var bits: UInt64 = 0
            for bit in 0..<(8 * width) {
                let vector = 8 * Int(offset) + bit
                if vector < vectorCount, state.pending[vector] { bits |= 1 << UInt64(bit) }
            }
            return bits
        }
    }

    private func tablePlace(_ offset: UInt64, _ width: Int) -> (vector: Int, word: Int)? {
        guard width == 4 || width == 8, offset % UInt64(width) == 0, let place = Int(exactly: offset) else { return nil }
        let vector = place / Self.entrySize
        return vector < vectorCount ? (vector, place % Self.entrySize / 4) : nil
    }

    // MARK: With the lock held

    /// Moves signals of masked sources from their eventfds into pending bits.
    func collectPending(_ state: inout State) {
        guard state.isEnabled else { return }
        for source in sources.indices where state.attached[source] == nil {
            let vector = Int(state.vectors[source])
            guard vector < vectorCount, sources[source].drain() else { continue }
            state.pending[vector] = true
        }
    }

    /// Whether interrupts of the vector reach the guest now.
    private func isOpen(_ vector: Int, _ state: State) -> Bool {
        state.isEnabled && !state.isFunctionMasked && !state.entries[vector].isMasked
    }

    /// Makes sure that the vector exists and has a GSI.
    private func reserve(_ vector: UInt16, _ state: inout State) -> Bool {
        let index = Int(vector)
        guard index < vectorCount else { return false }
        if state.gsis[index] == nil {
            do throws(SystemError) { state.gsis[index] = try routing.allocateGSI() } catch {
                log.report("no interrupt route is left for MSI-X vector \(vector): \(error)")
                return false
            }
        }
        return true
    }

    /// Follows a change of a vector's entry or of its mask: route first, then sources, then what was pending.
    func refresh(_ vector: Int, _ state: inout State) {
        for source in sources.indices where Int(state.vectors[source]) == vector { reconcile(source, &state) }
        guard state.pending[vector], isOpen(vector, state) else { return }
        state.pending[vector] = false
        do throws(SystemError) { try routing.send(state.entries[vector].message) } catch {
            log.report("the pending interrupt of MSI-X vector \(vector) was lost: \(error)")
        }
    }

    /// Attaches a source to the GSI that its vector now calls for, or to none.
    private func reconcile(_ source: Int, _ state: inout State) {
        let vector = Int(state.vectors[source])
        var target: UInt32?
        if vector < vectorCount, isOpen(vector, state), let gsi = state.gsis[vector] {
            do throws(SystemError) {
                try routing.setMessage(state.entries[vector].message, for: gsi)
                target = gsi
            } catch {
                log.report("the message of MSI-X vector \(vector) could not be set: \(error)")
            }
        }
        guard state.attached[source] != target else { return }
        do throws(SystemError) {
            if let old = state.attached[source] {
                state.attached[source] = nil
                try routing.detach(sources[source], from: old)
            }
            if let target {
                try routing.attach(sources[source], to: target)
                state.attached[source] = target
            }
        } catch {
            log.report("an interrupt source could not move to MSI-X vector \(vector): \(error)")
        }
    }
}

extension MSIX.Entry {
    /// The entry as the guest sees it: address, upper address, data, vector control (PCI 3.0, 6.8.2.6 to 6.8.2.9).
    func word(_ index: Int) -> UInt32 {
        switch index {
        case 0: UInt32(truncatingIfNeeded: message.address)
        case 1: UInt32(truncatingIfNeeded: message.address >> 32)
        case 2: message.data
        default: isMasked ? 1 : 0
        }
    }

    mutating func setWord(_ index: Int, to value: UInt32) {
        switch index {
        // The two low bits of the address are always zero.
        case 0: message.address = message.address & ~0xffff_ffff | UInt64(value & ~3)
        case 1: message.address = message.address & 0xffff_ffff | UInt64(value) << 32
        case 2: message.data = value
        default: isMasked = value & 1 != 0
        }
    }
}
