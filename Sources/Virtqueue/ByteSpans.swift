// The standard library marks the untyped view of a span as unsafe, because reading bytes as an arbitrary type may be. A view of bytes
// as bytes is not, and whoever copies bytes in and out of guest memory needs one.

extension Span where Element == UInt8 {
    /// The same bytes, untyped.
    @inlinable
    public var untyped: RawSpan {
        @_lifetime(copy self)
        get { unsafe bytes }
    }
}

extension MutableSpan where Element == UInt8 {
    /// The same bytes, untyped and writable.
    @inlinable
    public var untyped: MutableRawSpan {
        @_lifetime(&self)
        mutating get { unsafe mutableBytes }
    }
}
