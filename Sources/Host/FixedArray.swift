/// A fixed number of elements that may be `~Copyable`, on the heap; moving it moves a pointer.
///
/// The standard library's Array cannot hold queues, which have exactly one owner.
@safe public struct FixedArray<Element: ~Copyable>: ~Copyable {
    private let storage: UnsafeMutableBufferPointer<Element>

    /// `count` elements, each made by `make` from its index.
    public init(count: Int, _ make: (Int) -> Element) {
        unsafe storage = UnsafeMutableBufferPointer<Element>.allocate(capacity: max(count, 0))
        for index in 0..<max(count, 0) { unsafe storage.initializeElement(at: index, to: make(index)) }
    }

    deinit {
        unsafe storage.deinitialize()
        unsafe storage.deallocate()
    }

    /// The number of elements.
    public var count: Int { unsafe storage.count }

    /// The indices of all elements.
    public var indices: Range<Int> { 0..<count }

    /// An element; `index` is below `count` (an index that a guest chose is checked by the caller).
    public subscript(index: Int) -> Element {
        _read {
            precondition(indices.contains(index), "index out of range")
            yield unsafe storage[index]
        }
        _modify {
            precondition(indices.contains(index), "index out of range")
            yield unsafe &storage[index]
        }
    }
}

// Sendable when its elements are: it owns them alone, and nothing else points into its storage.
extension FixedArray: @unchecked Sendable where Element: Sendable & ~Copyable {}
