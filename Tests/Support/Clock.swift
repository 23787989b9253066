import Glibc

/// How much processor time the calling thread has used, in seconds: what other threads and processes do at the time does not count.
package func processorTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
