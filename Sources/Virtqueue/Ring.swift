public import CAtomics

/// The layout core: a queue's three areas in host memory, and every access to a field of them. Both sides of a queue stand on it.
///
/// Indices that reach the accessors are below the queue size: the callers have compared or masked them.
@safe @usableFromInline
struct Ring {
    @usableFromInline let descriptors: UnsafeMutableRawPointer
    @usableFromInline let driverArea: UnsafeMutableRawPointer
    @usableFromInline let deviceArea: UnsafeMutableRawPointer
    @usableFromInline let size: UInt16
    @usableFromInline let features: RingFeatures

    /// Checks size, alignment and bounds of the areas (2.7, 2.8.10). The host addresses behind them are as aligned as the areas must be.
    @inlinable
    init<Memory: QueueMemory>(_ configuration: QueueConfiguration, features: RingFeatures, memory: borrowing Memory) throws(QueueFault) {
        let size = configuration.size
        guard features.format.allows(size: size), size <= configuration.maxSize else {
            throw .size(size, maximum: min(configuration.maxSize, RingFormat.maxQueueSize))
        }
        unsafe self.descriptors = try Self.resolve(.descriptor, configuration, features.format, memory).base
        unsafe self.driverArea = try Self.resolve(.driver, configuration, features.format, memory).base
        unsafe self.deviceArea = try Self.resolve(.device, configuration, features.format, memory).base
        self.size = size
        self.features = features
    }

    @inlinable
    static func resolve<Memory: QueueMemory>(
        _ area: RingArea, _ configuration: QueueConfiguration, _ format: RingFormat, _ memory: borrowing Memory
    ) throws(QueueFault) -> HostRange {
        let address = configuration.address(of: area)
        let mask = UInt64(format.alignment(of: area) - 1)
        guard address & mask == 0 else { throw .misaligned(area, address: address) }
        let bytes = format.byteCount(of: area, size: configuration.size)
        guard let range = memory.range(at: address, count: bytes), range.count >= bytes else {
            throw .areaOutsideMemory(area, address: address, bytes: bytes)
        }
        // A region that is itself mapped at an odd place would misalign what the address says is aligned; atomics need the real thing.
        guard unsafe UInt64(UInt(bitPattern: range.base)) & mask == 0 else { throw .misaligned(area, address: address) }
        return range
    }

    @inlinable var isPacked: Bool { features.format == .packed }
    /// Split rings: their sizes are powers of two.
    @inlinable var mask: UInt16 { size &- 1 }

    /// What a driver does before it hands a new queue to the device (2.7.10.1, 2.8.13): all zero, and then as if everything before
    /// `position` had been used.
    @inlinable
    func clear(beginningAt position: RingCursor) {
        unsafe descriptors.initializeMemory(as: UInt8.self, repeating: 0, count: features.format.byteCount(of: .descriptor, size: size))
        unsafe driverArea.initializeMemory(as: UInt8.self, repeating: 0, count: features.format.byteCount(of: .driver, size: size))
        unsafe deviceArea.initializeMemory(as: UInt8.self, repeating: 0, count: features.format.byteCount(of: .device, size: size))
        guard isPacked else {
            publish(availableIndex: position.index)
            publish(usedIndex: position.index)
            return
        }
        for index in 0..<size {
            // Zero is what slots look like that were used in a round with wrap counter 0: right for a new queue, not for any other.
            let flags = Descriptor.usedFlags(wrap: index < position.index ? position.wrap : !position.wrap)
            publish(packedWord: Descriptor(address: 0, length: 0, flags: flags, tag: 0).packedSecondWord, at: index)
        }
    }

    @inlinable
    func descriptorAddress(_ index: UInt16) -> UnsafeMutableRawPointer {
        unsafe descriptors + Int(index) &* DescriptorLayout.stride
    }

    // MARK: Split (2.7)

    @inlinable
    func splitDescriptor(_ index: UInt16) -> Descriptor {
        let address = unsafe descriptorAddress(index)
        let first = unsafe UInt64(littleEndian: swv_load_u64(address))
        let second = unsafe UInt64(littleEndian: swv_load_u64(address + DescriptorLayout.secondWord))
        return Descriptor(splitWords: first, second)
    }

    @inlinable
    func store(split descriptor: Descriptor, at index: UInt16) {
        let address = unsafe descriptorAddress(index)
        unsafe swv_store_u64(address, descriptor.address.littleEndian)
        unsafe swv_store_u64(address + DescriptorLayout.secondWord, descriptor.splitSecondWord.littleEndian)
    }

    /// Acquires what was stored before the driver published the index.
    @inlinable var availableIndex: UInt16 { unsafe UInt16(littleEndian: swv_load_acquire_u16(driverArea + SplitLayout.index)) }

    @inlinable
    func publish(availableIndex: UInt16) {
        unsafe swv_store_release_u16(driverArea + SplitLayout.index, availableIndex.littleEndian)
    }

    @inlinable
    func availableEntryAddress(_ index: UInt16) -> UnsafeMutableRawPointer {
        unsafe driverArea + SplitLayout.availableEntries + Int(index & mask) &* SplitLayout.availableStride
    }

    @inlinable
    func availableEntry(_ index: UInt16) -> UInt16 { unsafe UInt16(littleEndian: swv_load_u16(availableEntryAddress(index))) }

    @inlinable
    func store(availableEntry head: UInt16, at index: UInt16) {
        unsafe swv_store_u16(availableEntryAddress(index), head.littleEndian)
    }

    /// Acquires what was stored before the device published the index.
    @inlinable var usedIndex: UInt16 { unsafe UInt16(littleEndian: swv_load_acquire_u16(deviceArea + SplitLayout.index)) }

    @inlinable
    func publish(usedIndex: UInt16) {
        unsafe swv_store_release_u16(deviceArea + SplitLayout.index, usedIndex.littleEndian)
    }

    @inlinable
    func usedEntryAddress(_ index: UInt16) -> UnsafeMutableRawPointer {
        unsafe deviceArea + SplitLayout.usedEntries + Int(index & mask) &* SplitLayout.usedStride
    }

    @inlinable
    func usedEntry(_ index: UInt16) -> (id: UInt32, written: UInt32) {
        // The used ring is only 4-byte aligned: two loads.
        let address = unsafe usedEntryAddress(index)
        return unsafe (UInt32(littleEndian: swv_load_u32(address)), UInt32(littleEndian: swv_load_u32(address + 4)))
    }

    @inlinable
    func store(usedEntry id: UInt16, written: UInt32, at index: UInt16) {
        let address = unsafe usedEntryAddress(index)
        unsafe swv_store_u32(address, UInt32(id).littleEndian)
        unsafe swv_store_u32(address + 4, written.littleEndian)
    }

    // MARK: What a device writes, for dirty logging

    /// The used entry of either format at `index`; in the packed format it is a descriptor.
    @inlinable
    func usedEntryRange(_ index: UInt16) -> HostRange {
        isPacked
            ? unsafe HostRange(base: descriptorAddress(index), count: DescriptorLayout.stride)
            : unsafe HostRange(base: usedEntryAddress(index), count: SplitLayout.usedStride)
    }

    /// The flags and the index of a split queue's used ring.
    @inlinable var usedIndexRange: HostRange { unsafe HostRange(base: deviceArea, count: SplitLayout.usedEntries) }

    // MARK: Packed (2.8)

    /// The second word, whose flags say whose the descriptor is, is acquired first: what the flags cover is then read as it was stored.
    @inlinable
    func packedDescriptor(_ index: UInt16) -> Descriptor {
        let address = unsafe descriptorAddress(index)
        let second = unsafe UInt64(littleEndian: swv_load_acquire_u64(address + DescriptorLayout.secondWord))
        let first = unsafe UInt64(littleEndian: swv_load_u64(address))
        return Descriptor(packedWords: first, second)
    }

    @inlinable
    func store(packedAddress: UInt64, at index: UInt16) {
        unsafe swv_store_u64(descriptorAddress(index), packedAddress.littleEndian)
    }

    /// Length, id and flags in one store, so that the flags never show without the rest; released after everything before it.
    @inlinable
    func publish(packedWord: UInt64, at index: UInt16) {
        unsafe swv_store_release_u64(descriptorAddress(index) + DescriptorLayout.secondWord, packedWord.littleEndian)
    }
}

/// Entries of a packed ring that were written but are not to be seen yet.
///
/// Either side looks for its next entry at one place only (2.8.2), so it is enough to hold back the first entry of a batch.
@usableFromInline
struct PackedBatch {
    @usableFromInline var index: UInt16 = 0
    @usableFromInline var word: UInt64 = 0

    @inlinable init() {}

    @inlinable
    mutating func store(_ word: UInt64, at index: UInt16, isFirst: Bool, in ring: borrowing Ring) {
        if isFirst {
            self.index = index
            self.word = word
        } else {
            ring.publish(packedWord: word, at: index)
        }
    }

    @inlinable
    func publish(in ring: borrowing Ring) {
        ring.publish(packedWord: word, at: index)
    }
}
