import Glibc

/// CLOCK_MONOTONIC in nanoseconds.
package func monotonicNanoseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

/// Sleeps for a number of nanoseconds; signals do not shorten the sleep.
package func sleepNanoseconds(_ nanoseconds: Int64) {
    var left = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
    var rest = left
    while nanosleep(&left, &rest) != 0, errno == EINTR { left = rest }
}

/// The time since the start of a call on CLOCK_MONOTONIC, and the start on CLOCK_REALTIME.
package struct Stopwatch {
    package let startedAt: Int64
    private let start: Int64

    package init() {
        startedAt = Stopwatch.realTime
        start = Stopwatch.now(CLOCK_MONOTONIC)
    }

    /// Nanoseconds since the start.
    package var elapsed: Int64 { Stopwatch.now(CLOCK_MONOTONIC) - start }

    /// CLOCK_REALTIME in nanoseconds.
    package static var realTime: Int64 { now(CLOCK_REALTIME) }

    private static func now(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
