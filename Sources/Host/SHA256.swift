import CNettle
public import Virtqueue

/// SHA-256 (FIPS 180-4) over bytes that come piece by piece.
public struct SHA256: ~Copyable {
    private var context = sha256_ctx()

    /// The number of bytes in a digest.
    public static let byteCount = Int(SHA256_DIGEST_SIZE)

    /// Begins with no bytes.
    public init() { unsafe swv_sha256_init(&context) }

    /// Appends bytes.
    public mutating func update(_ bytes: RawSpan) {
        unsafe bytes.withUnsafeBytes { bytes in
            unsafe swv_sha256_update(&context, bytes.count, bytes.baseAddress)
        }
    }

    /// Appends the bytes of a range, which nobody should be writing meanwhile.
    public mutating func update(_ range: HostRange) { unsafe swv_sha256_update(&context, range.count, range.base) }

    /// The digest, `byteCount` bytes.
    public consuming func finish() -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: Self.byteCount)
        unsafe swv_sha256_finish(&context, &digest)
        return digest
    }
}

/// Bytes as lower-case hexadecimal digits, two for each.
public func hexString(_ bytes: [UInt8]) -> String {
    var text = ""
    text.reserveCapacity(2 * bytes.count)
    for byte in bytes {
        if byte < 16 { text += "0" }
        text += String(byte, radix: 16)
    }
    return text
}
