import Glibc

/// CLOCK_MONOTONIC in nanoseconds.
package func monotonicNanoseconds() -> Int64 { nanoseconds(of: CLOCK_MONOTONIC) }

private func nanoseconds(of clock: clockid_t) -> Int64 {
    var time = timespec()
    clock_gettime(clock, &time)
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
        start = monotonicNanoseconds()
    }

    /// Nanoseconds since the start.
    package var elapsed: Int64 { monotonicNanoseconds() - start }

    /// CLOCK_REALTIME in nanoseconds.
    package static var realTime: Int64 { nanoseconds(of: CLOCK_REALTIME) }
}
