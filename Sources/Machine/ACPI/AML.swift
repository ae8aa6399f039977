/// A piece of ACPI Machine Language (ACPI 6.5, chapter 20): as much of it as our tables need.
///
/// Terms are built from the inside out; every function returns the complete encoding of its term.
struct AML: Sendable, Equatable {
    /// The encoding.
    let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    // MARK: Names and data

    /// A name path such as `\_SB.PCI0` (20.2.2). Segments are one to four characters; shorter ones are padded.
    static func path(_ text: String) -> AML {
        var rest = text[...]
        var bytes: [UInt8] = []
        if rest.first == "\\" {
            bytes.append(UInt8(ascii: "\\"))
            rest = rest.dropFirst()
        }
        let segments = rest.split(separator: ".").map { segment in Array(String(segment.prefix(4)).utf8) }
        switch segments.count {
        case 0: bytes.append(0)
        case 1: break
        case 2: bytes.append(0x2e)
        default: bytes += [0x2f, UInt8(truncatingIfNeeded: segments.count)]
        }
        for segment in segments { bytes += segment + [UInt8](repeating: UInt8(ascii: "_"), count: 4 - segment.count) }
        return AML(bytes)
    }

    /// An integer in its shortest encoding (20.2.3).
    static func integer(_ value: UInt64) -> AML {
        var bytes: [UInt8] = []
        append(value, to: &bytes)
        return AML(bytes)
    }

    /// A string of ASCII characters.
    static func string(_ text: String) -> AML { AML([0x0d] + Array(text.utf8) + [0]) }

    /// A compressed EISA id such as `PNP0A08` (19.6.36).
    static func eisaID(_ text: String) -> AML {
        let characters = Array(text.utf8)
        guard characters.count == 7, let product = UInt16(text.suffix(4), radix: 16) else { return string(text) }
        let vendor = characters[0..<3].reduce(UInt16(0)) { $0 << 5 | UInt16($1 &- 0x40) & 0x1f }
        return AML([0x0c, UInt8(vendor >> 8), UInt8(vendor & 0xff), UInt8(product >> 8), UInt8(product & 0xff)])
    }

    /// A package of terms.
    static func package(_ elements: [AML]) -> AML {
        let content = [UInt8(truncatingIfNeeded: elements.count)] + elements.flatMap(\.bytes)
        return AML([0x12] + withLength(content))
    }

    /// A package of packages of integers, put together in one piece: as terms of their own, the routes of a bus would take a third of the
    /// time that swvmm needs to start.
    static func table(rows: Int, columns: Int, _ value: (_ row: Int, _ column: Int) -> UInt64) -> AML {
        var content = [UInt8(truncatingIfNeeded: rows)]
        content.reserveCapacity(rows * (columns * 5 + 4))
        var row: [UInt8] = []
        for index in 0..<rows {
            row.removeAll(keepingCapacity: true)
            row.append(UInt8(truncatingIfNeeded: columns))
            for column in 0..<columns { append(value(index, column), to: &row) }
            content.append(0x12)
            appendLength(of: row.count, to: &content)
            content += row
        }
        return AML([0x12] + withLength(content))
    }

    /// A buffer that holds bytes.
    static func buffer(_ content: [UInt8]) -> AML {
        AML([0x11] + withLength(integer(UInt64(content.count)).bytes + content))
    }

    // MARK: Objects

    /// `Name (path, value)`.
    static func name(_ name: String, _ value: AML) -> AML { AML([0x08] + path(name).bytes + value.bytes) }

    /// `Scope (path) { … }`.
    static func scope(_ name: String, _ terms: [AML]) -> AML {
        AML([0x10] + withLength(path(name).bytes + terms.flatMap(\.bytes)))
    }

    /// `Device (name) { … }`.
    static func device(_ name: String, _ terms: [AML]) -> AML {
        AML([0x5b, 0x82] + withLength(path(name).bytes + terms.flatMap(\.bytes)))
    }

    /// `Method (name, arguments, Serialized) { … }`.
    static func method(_ name: String, arguments: UInt8, _ terms: [AML]) -> AML {
        AML([0x14] + withLength(path(name).bytes + [arguments & 7 | 8] + terms.flatMap(\.bytes)))
    }

    /// `OperationRegion (name, SystemIO, offset, length)`.
    static func portRegion(_ name: String, _ ports: Range<UInt64>) -> AML {
        AML([0x5b, 0x80] + path(name).bytes + [0x01] + integer(ports.lowerBound).bytes + integer(UInt64(ports.count)).bytes)
    }

    /// `Field (region, ByteAcc, NoLock, WriteAsZeros) { name, 8 }`: the first byte of a region under a name.
    static func byteField(_ region: String, _ name: String) -> AML {
        AML([0x5b, 0x81] + withLength(path(region).bytes + [0x41] + path(name).bytes + [8]))
    }

    // MARK: Statements

    /// `Local0`.
    static let local0 = AML([0x60])

    /// `Store (source, target)`.
    static func store(_ source: AML, in target: AML) -> AML { AML([0x70] + source.bytes + target.bytes) }

    /// `If (condition & mask) { … }`.
    static func ifSet(_ value: AML, mask: UInt64, _ terms: [AML]) -> AML {
        let condition = [0x7b] + value.bytes + integer(mask).bytes + [0x00]
        return AML([0xa0] + withLength(condition + terms.flatMap(\.bytes)))
    }

    /// `Notify (object, value)`.
    static func notify(_ object: String, _ value: UInt64) -> AML { AML([0x86] + path(object).bytes + integer(value).bytes) }

    // MARK: Encoding

    /// PkgLength in front of a content; it counts itself (20.2.4).
    static func withLength(_ content: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(content.count + 4)
        appendLength(of: content.count, to: &bytes)
        return bytes + content
    }

    /// PkgLength for a content of `count` bytes, less than 256 MiB: the address map's range for tables ends long before.
    private static func appendLength(of count: Int, to bytes: inout [UInt8]) {
        if count + 1 < 1 << 6 { return bytes.append(UInt8(truncatingIfNeeded: count + 1)) }
        for extra in 1...3 {
            let total = count + 1 + extra
            guard total < 1 << (4 + 8 * extra) else { continue }
            bytes.append(UInt8(truncatingIfNeeded: extra << 6 | total & 0xf))
            return append(UInt64(truncatingIfNeeded: total >> 4), bytes: extra, to: &bytes)
        }
    }

    private static func append(_ value: UInt64, to bytes: inout [UInt8]) {
        let (prefix, count): (UInt8, Int) =
            switch value {
            case 0...1: (UInt8(truncatingIfNeeded: value), 0)
            case ...0xff: (0x0a, 1)
            case ...0xffff: (0x0b, 2)
            case ...0xffff_ffff: (0x0c, 4)
            default: (0x0e, 8)
            }
        bytes.append(prefix)
        append(value, bytes: count, to: &bytes)
    }

    private static func append(_ value: UInt64, bytes count: Int, to bytes: inout [UInt8]) {
        var rest = value
        for _ in 0..<count {
            bytes.append(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }

    static func littleEndian(_ value: UInt64, _ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        append(value, bytes: count, to: &bytes)
        return bytes
    }
}
