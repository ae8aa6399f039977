import Glibc
import Host
import Schema
import Synchronization
import TestSupport
import Testing

@testable import Machine

@Suite struct RealTimeClockTests {
    final class Host: Sendable {
        let time: Mutex<WallTime>
        init(_ seconds: Int64) { time = Mutex(WallTime(seconds: seconds)) }
        func set(_ seconds: Int64, _ nanoseconds: Int32 = 0) {
            time.withLock { $0 = WallTime(seconds: seconds, nanoseconds: nanoseconds) }
        }
    }

    /// 2024-02-29 23:59:58 UTC, a Thursday.
    static let leapDay: Int64 = 1_709_251_198
    let host = Host(leapDay)
    let clock: RealTimeClock

    init() {
        let host = host
        clock = RealTimeClock(now: { host.time.withLock { $0 } })
    }

    func read(_ index: UInt64) -> UInt64 {
        clock.write(index, at: 0, width: 1)
        return clock.read(at: 1, width: 1)
    }

    func write(_ index: UInt64, _ value: UInt64) {
        clock.write(index, at: 0, width: 1)
        clock.write(value, at: 1, width: 1)
    }

    /// Seconds, minutes, hours, day of week, day, month, year, century.
    var shown: [UInt64] { [0, 2, 4, 6, 7, 8, 9, 0x32].map { read($0) } }

    @Test("Table 3: BCD and 24 hours out of reset; 29 February is followed by 1 March")
    func bcd() {
        #expect(shown == [0x58, 0x59, 0x23, 5, 0x29, 0x02, 0x24, 0x20])
        host.set(Self.leapDay + 2)
        #expect(shown == [0, 0, 0, 6, 0x01, 0x03, 0x24, 0x20])
    }

    @Test("Register B: DM is binary, 24/12 clear is 12 hours with PM in bit 7")
    func formats() {
        write(11, 0x06)
        #expect(shown == [58, 59, 23, 5, 29, 2, 24, 20])
        write(11, 0x00)
        #expect(read(4) == 0x91, "11 PM")
        host.set(Self.leapDay + 2)
        #expect(read(4) == 0x12, "midnight is 12 AM")
        host.set(Self.leapDay + 2 + 12 * 3600)
        #expect(read(4) == 0x92, "noon is 12 PM")
        host.set(Self.leapDay + 2 + 13 * 3600)
        write(11, 0x04)
        #expect(read(4) == 0x81)
    }

    @Test("Registers A, C and D: divider at 32 768 Hz, no interrupt flag, valid RAM; what Linux's rtc_cmos asks for")
    func statusRegisters() {
        #expect(read(10) == 0x26)
        #expect(read(11) & 0x02 != 0, "24 hours")
        #expect(read(12) == 0)
        #expect(read(13) == 0x80)
        write(12, 0xFF)
        write(13, 0)
        #expect(read(12) == 0)
        #expect(read(13) == 0x80)
        write(10, 0xFF)
        #expect(read(10) == 0x7F, "UIP is read-only")
    }

    @Test("UIP is set 244 µs before the second changes, and never while SET stops updates")
    func updateInProgress() {
        host.set(Self.leapDay, 999_755_999)
        #expect(read(10) & 0x80 == 0)
        host.set(Self.leapDay, 999_756_000)
        #expect(read(10) & 0x80 != 0)
        write(11, 0x82)
        #expect(read(10) & 0x80 == 0)
    }

    @Test("SET holds the registers; a time written meanwhile counts from when SET is cleared")
    func settingTheTime() {
        write(11, 0x82)
        host.set(Self.leapDay + 100)
        #expect(read(0) == 0x58, "held")
        for (index, value) in zip([0, 2, 4, 7, 8, 9, 0x32] as [UInt64], [0x10, 0x20, 0x03, 0x31, 0x12, 0x99, 0x19] as [UInt64]) {
            write(index, value)
        }
        write(11, 0x02)
        #expect(shown == [0x10, 0x20, 0x03, 6, 0x31, 0x12, 0x99, 0x19], "1999-12-31 was a Friday")
        host.set(Self.leapDay + 100 + 86_400)
        #expect(shown == [0x10, 0x20, 0x03, 7, 0x01, 0x01, 0x00, 0x20])
    }

    @Test("The sequence of Linux: SET, divider reset, write, SET off, divider on")
    func linuxSetsTheTime() {
        write(11, read(11) | 0x80)
        write(10, read(10) | 0x70)
        write(0, 0x30)
        write(11, read(11) & 0x7F)
        host.set(Self.leapDay + 7)
        #expect(read(0) == 0x30, "the divider is still in reset")
        write(10, 0x26)
        #expect(read(0) == 0x30)
        host.set(Self.leapDay + 8)
        #expect(read(0) == 0x31)
    }

    @Test("A running clock takes a register at once")
    func writeWhileRunning() {
        write(2, 0x07)
        #expect(read(2) == 0x07)
        #expect(read(4) == 0x23)
    }

    @Test("A date that does not exist is not adopted", arguments: [(8, 0x13), (7, 0x31), (0, 0x60), (4, 0x24), (0, 0x5A), (7, 0)])
    func impossibleDates(index: UInt64, value: UInt64) {
        let before = shown
        write(index, value)
        #expect(shown == before)
    }

    @Test("Bit 7 of the index masks NMIs and selects nothing; alarms and memory keep their bytes; port 0x70 is write-only")
    func memory() {
        write(0x80 | 0x40, 0x5A)
        #expect(read(0x40) == 0x5A)
        for index in UInt64(14)...127 where index != 0x32 { write(index, index ^ 0x55) }
        for index in [1, 3, 5] as [UInt64] { write(index, index) }
        for index in UInt64(14)...127 where index != 0x32 { #expect(read(index) == index ^ 0x55) }
        for index in [1, 3, 5] as [UInt64] { #expect(read(index) == index) }
        #expect(clock.read(at: 0, width: 1) == 0xFF)
    }

    @Test("A saved clock shows the time of its restore, as far apart from the host as it was set")
    func saved() throws {
        write(2, 0x07)
        write(0x20, 0xAB)
        let other = Host(Self.leapDay + 3600 * 24 * 365)
        let copy = RealTimeClock(now: { other.time.withLock { $0 } })
        try copy.restore(SavedValue(clock.state))
        #expect(copy.state == clock.state)
        copy.write(2, at: 0, width: 1)
        #expect(copy.read(at: 1, width: 1) == 0x07)
        copy.write(9, at: 0, width: 1)
        #expect(copy.read(at: 1, width: 1) == 0x25)
    }

    @Test("A state that contradicts itself is refused")
    func refusals() {
        #expect(refusal(clock, changing(clock.state, "index", to: 128)) == "device.index: expected an integer from 0 to 127, found 128.")
        #expect(refusal(clock, changing(clock.state, "registerB", to: 0x82))?.contains("heldTime") == true)
        #expect(
            refusal(clock, changing(clock.state, "heldTime", to: [1, 2]))
                == "device.heldTime: expected an array of 8 elements or null, found 2.")
        #expect(refusal(clock, changing(clock.state, "memory", to: [0])) != nil)
        #expect(refusal(clock, changing(clock.state, "secondsAheadOfHost", to: .integer(.max))) != nil)
        write(11, 0x82)
        #expect(refusal(clock, clock.state) == nil)
    }

    @Test("Random accesses do no harm, at any host time", arguments: [0, leapDay, -1, .max, .min, 253_402_300_799] as [Int64])
    func fuzz(seconds: Int64) {
        host.set(seconds, 999_999_999)
        #expect(poke(clock, range: 2, seed: UInt64(truncatingIfNeeded: seconds)) == nil)
    }

    @Test("The calendar agrees with the C library's over four centuries")
    func calendar() {
        var random = SeededRandom(seed: 7)
        for _ in 0..<3000 {
            let seconds = Int64.random(in: -11_676_096_000...253_402_300_799, using: &random)
            let time = CalendarTime(secondsSinceEpoch: seconds)
            var moment = time_t(seconds)
            var parts = unsafe tm()
            unsafe gmtime_r(&moment, &parts)
            let expected = unsafe [
                Int64(parts.tm_year) + 1900, Int64(parts.tm_mon) + 1, Int64(parts.tm_mday), Int64(parts.tm_hour), Int64(parts.tm_min),
                Int64(parts.tm_sec), Int64(parts.tm_wday) + 1,
            ]
            #expect([time.year, time.month, time.day, time.hour, time.minute, time.second, time.dayOfWeek] == expected)
            #expect(time.secondsSinceEpoch == seconds)
        }
    }
}
