import Glibc

/// How the kernel schedules the calling thread.
package enum Scheduling {
    /// SCHED_RESET_ON_FORK of linux/sched.h.
    private static let resetOnFork: Int32 = 0x4000_0000

    /// What became of a request.
    package enum Outcome: Hashable, Sendable {
        case done
        /// RLIMIT_RTPRIO permits none, which is the default for root too.
        case notPermitted
        /// The kernel refused it although the limit permits it: a control group without time for real-time processes.
        case refused(String)
    }

    /// Schedules the calling thread in real time, with the lowest of these priorities (SCHED_RR 1, sched(7)), where RLIMIT_RTPRIO
    /// permits it. Threads and processes that it starts are scheduled as usual.
    ///
    /// A niceness orders the processes of one session or control group only, and virtual machines are in others.
    package static func becomeRealTime() -> Outcome {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(__RLIMIT_RTPRIO.rawValue), &limit) == 0, limit.rlim_cur > 0 else {
            return .notPermitted
        }
        return set(SCHED_RR, priority: 1) ? .done : .refused(String(cString: strerror(errno)))
    }

    /// Schedules the calling thread by a policy (sched_setscheduler(2)); what it starts is scheduled as usual.
    ///
    /// - Returns: false, with `errno`, where that is refused.
    package static func set(_ policy: Int32, priority: Int32) -> Bool {
        var parameter = sched_param()
        parameter.sched_priority = priority
        return sched_setscheduler(0, policy | resetOnFork, &parameter) == 0
    }
}
