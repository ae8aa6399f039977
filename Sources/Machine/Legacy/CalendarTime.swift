/// A date and time of day in the Gregorian calendar, years 0 to 9999, as a clock chip with a century counts them.
struct CalendarTime: Equatable {
    var year: Int64
    /// 1…12.
    var month: Int64
    /// 1…31.
    var day: Int64
    /// 0…23.
    var hour: Int64
    /// 0…59.
    var minute: Int64
    /// 0…59.
    var second: Int64

    static let secondsPerDay: Int64 = 86_400
    /// 0000-01-01 and the last second of 9999, in seconds since 1970.
    static let range = CalendarTime.secondsPerDay * -719_528...253_402_300_799

    /// 1 (Sunday) … 7.
    var dayOfWeek: Int64 {
        // 1970-01-01 was a Thursday.
        (Self.days(year, month, day) + 4 + 7 * 200_000) % 7 + 1
    }

    /// The calendar's view of a point in time; times outside the years 0…9999 stop at either end.
    init(secondsSinceEpoch: Int64) {
        let clamped = min(max(secondsSinceEpoch, Self.range.lowerBound), Self.range.upperBound)
        // From here on nothing can be negative or overflow.
        let sinceYearZero = clamped - Self.range.lowerBound
        let days = sinceYearZero / Self.secondsPerDay
        let rest = sinceYearZero % Self.secondsPerDay
        hour = rest / 3600
        minute = rest / 60 % 60
        second = rest % 60
        // 146 097 days are 400 years: the quotient is the year or the one after it.
        var year = days * 400 / 146_097
        while Self.daysBefore(year) > days { year -= 1 }
        while Self.daysBefore(year + 1) <= days { year += 1 }
        var month: Int64 = 1
        var day = days - Self.daysBefore(year)
        while day >= Self.length(of: month, in: year) {
            day -= Self.length(of: month, in: year)
            month += 1
        }
        self.year = year
        self.month = month
        self.day = day + 1
    }

    /// A point in the calendar; nil when there is no such date or time.
    init?(year: Int64, month: Int64, day: Int64, hour: Int64, minute: Int64, second: Int64) {
        guard (0...9999).contains(year), (1...12).contains(month), day >= 1, day <= Self.length(of: month, in: year) else { return nil }
        guard (0...23).contains(hour), (0...59).contains(minute), (0...59).contains(second) else { return nil }
        self.year = year
        self.month = month
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
    }

    /// Seconds since 1970-01-01 00:00:00.
    var secondsSinceEpoch: Int64 {
        Self.days(year, month, day) * Self.secondsPerDay + hour * 3600 + minute * 60 + second
    }

    /// Days since 1970-01-01.
    private static func days(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        var days = daysBefore(year) + day - 1
        for earlier in 1..<max(month, 1) { days += length(of: earlier, in: year) }
        return days + range.lowerBound / secondsPerDay
    }

    /// Days from the start of year 0 (a leap year) to the start of a year that is not negative.
    private static func daysBefore(_ year: Int64) -> Int64 {
        guard year > 0 else { return 0 }
        let last = year - 1
        return year * 365 + last / 4 - last / 100 + last / 400 + 1
    }

    private static func isLeap(_ year: Int64) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    private static func length(of month: Int64, in year: Int64) -> Int64 {
        switch month {
        case 2: isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}
