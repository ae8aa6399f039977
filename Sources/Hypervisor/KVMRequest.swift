import CLinux
import Host

/// The three shapes of KVM's ioctls. The name of a request goes into the error.
enum KVMRequest {
    /// A request whose argument is a number, or that has none; the result is KVM's answer.
    @discardableResult
    static func value(
        _ descriptor: Int32, _ request: swv_kvm_request, _ name: StaticString, argument: UInt = 0
    ) throws(SystemError) -> Int32 {
        try retryingOnInterrupt(name) { swv_kvm_value(descriptor, request, argument) }
    }

    /// A request that reads a structure of fixed size.
    static func set<T: BitwiseCopyable>(
        _ descriptor: Int32, _ request: swv_kvm_request, _ structure: T, _ name: StaticString
    ) throws(SystemError) {
        var structure = structure
        _ = try retryingOnInterrupt(name) { unsafe swv_kvm_structure(descriptor, request, &structure) }
    }

    /// A request that fills a structure of fixed size, given what it holds before.
    static func get<T: BitwiseCopyable>(
        _ descriptor: Int32, _ request: swv_kvm_request, _ initial: T, _ name: StaticString
    ) throws(SystemError) -> T {
        var structure = initial
        _ = try retryingOnInterrupt(name) { unsafe swv_kvm_structure(descriptor, request, &structure) }
        return structure
    }

    /// A request that fills an opaque block of `count` bytes.
    static func getBytes(
        _ descriptor: Int32, _ request: swv_kvm_request, count: Int, _ name: StaticString
    ) throws(SystemError) -> [UInt8] {
        let block = KVMList<UInt8>(headerSize: 0, capacity: count)
        _ = try retryingOnInterrupt(name) { unsafe swv_kvm_structure(descriptor, request, block.base) }
        return block.elements(count)
    }

    /// A request that reads an opaque block of exactly `count` bytes.
    static func setBytes(
        _ descriptor: Int32, _ request: swv_kvm_request, _ bytes: [UInt8], count: Int, _ name: StaticString
    ) throws(SystemError) {
        guard bytes.count == count else { throw SystemError("\(name)", .invalidArgument) }
        var block = KVMList<UInt8>(headerSize: 0, capacity: count)
        block.fill(bytes)
        _ = try retryingOnInterrupt(name) { unsafe swv_kvm_structure(descriptor, request, block.base) }
    }
}

/// One of KVM's structures of variable length: a header that begins with a 32-bit count, and that many elements.
@safe struct KVMList<Element: BitwiseCopyable>: ~Copyable {
    /// The start of the header.
    let base: UnsafeMutableRawPointer
    private let headerSize: Int
    private let capacity: Int

    /// Room for `capacity` elements; the header says so, and all is zero.
    init(headerSize: Int, capacity: Int) {
        self.headerSize = headerSize
        self.capacity = capacity
        let size = headerSize + capacity * MemoryLayout<Element>.stride
        unsafe base = UnsafeMutableRawPointer.allocate(byteCount: max(size, 8), alignment: 8)
        unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: max(size, 8))
        if headerSize > 0 { count = capacity }
    }

    /// A header and these elements.
    init(headerSize: Int, _ elements: [Element]) {
        self.init(headerSize: headerSize, capacity: elements.count)
        fill(elements)
    }

    deinit { unsafe base.deallocate() }

    /// The count in the header, never above the capacity when read: what KVM left out or added is not ours.
    var count: Int {
        get { Int(unsafe base.load(as: UInt32.self)) }
        nonmutating set { unsafe base.storeBytes(of: UInt32(truncatingIfNeeded: newValue), as: UInt32.self) }
    }

    mutating func fill(_ elements: [Element]) {
        for (index, element) in elements.prefix(capacity).enumerated() {
            unsafe (base + headerSize).storeBytes(of: element, toByteOffset: index * MemoryLayout<Element>.stride, as: Element.self)
        }
    }

    /// The first `count` elements.
    func elements(_ count: Int) -> [Element] {
        (0..<min(max(count, 0), capacity)).map {
            unsafe (base + headerSize).loadUnaligned(fromByteOffset: $0 * MemoryLayout<Element>.stride, as: Element.self)
        }
    }
}
