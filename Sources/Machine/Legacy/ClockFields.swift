/// The clock's registers that count, as a guest reads and writes them: encoded in BCD or binary, in 12 or 24 hours (MC146818, table 3).
struct ClockFields: Equatable {
    /// The number formats that status register B chooses.
    struct Format: Equatable {
        /// DM: binary, else BCD.
        var isBinary: Bool
        /// 24/12: 24 hours, else 12 with PM in bit 7.
        var is24Hour: Bool
    }

    /// The registers in this order; a snapshot lists them so.
    enum Field: Int, CaseIterable {
        case second, minute, hour, dayOfWeek, day, month, year, century
    }

    /// Register values in the order of `Field`.
    private(set) var values: [UInt8]

    /// Values as saved; nil unless there is one for each field.
    init?(values: [UInt8]) {
        guard values.count == Field.allCases.count else { return nil }
        self.values = values
    }

    /// The registers at a point in time.
    init(_ time: CalendarTime, _ format: Format) {
        func encode(_ value: Int64) -> UInt8 { Self.encode(UInt8(truncatingIfNeeded: value), format) }
        var hour = encode(time.hour)
        if !format.is24Hour {
            // Midnight is 12 AM, noon 12 PM.
            let half = encode(time.hour % 12 == 0 ? 12 : time.hour % 12)
            hour = half | (time.hour >= 12 ? 0x80 : 0)
        }
        values = [
            encode(time.second), encode(time.minute), hour, encode(time.dayOfWeek), encode(time.day), encode(time.month),
            encode(time.year % 100), encode(time.year / 100),
        ]
    }

    subscript(field: Field) -> UInt8 {
        get { values[field.rawValue] }
        set { values[field.rawValue] = newValue }
    }

    /// What time the registers show; nil when that is none. The day of the week follows from the date.
    func time(_ format: Format) -> CalendarTime? {
        func number(_ field: Field) -> Int64? { Self.decode(self[field], format) }
        let encodedHour = self[.hour]
        var hour: Int64?
        if format.is24Hour {
            hour = Self.decode(encodedHour, format)
        } else if let half = Self.decode(encodedHour & 0x7F, format), (1...12).contains(half) {
            hour = half % 12 + (encodedHour & 0x80 != 0 ? 12 : 0)
        }
        guard let hour, let century = number(.century), let year = number(.year), century <= 99, year <= 99 else { return nil }
        guard let month = number(.month), let day = number(.day), let minute = number(.minute), let second = number(.second) else {
            return nil
        }
        return CalendarTime(year: century * 100 + year, month: month, day: day, hour: hour, minute: minute, second: second)
    }

    private static func encode(_ value: UInt8, _ format: Format) -> UInt8 { format.isBinary ? value : (value / 10) << 4 | value % 10 }

    private static func decode(_ value: UInt8, _ format: Format) -> Int64? {
        if format.isBinary { return Int64(value) }
        guard value & 0x0F <= 9, value >> 4 <= 9 else { return nil }
        return Int64(value >> 4) * 10 + Int64(value & 0x0F)
    }
}
