import Netlink
package import Policy
package import Records
package import System

/// fdbsteer on one network namespace of one host: the kernel, and the records of its guests.
///
/// It belongs to the thread that made it, and to that thread's network namespace. Verbs are run on it.
package struct Host: ~Copyable {
    var kernel: Kernel
    let folder: StateFolder
    let events: EventLog
    /// What ends waits for signals; nil for the process's own signals.
    let hangups: [Hangup]?
    private let begin: Stopwatch?
    /// Since the call.
    var clock: Stopwatch { begin ?? Stopwatch() }

    /// - Parameters:
    ///   - folder: where the journal and the history are; nothing is made before a verb needs it.
    ///   - begin: when the call began; nil: each verb is a call.
    ///   - hangups: what ends waits for signals; nil for SIGINT and SIGTERM, in a process that hears them nowhere else.
    /// - Throws: ``ControllerError`` of code `precondition` when no netlink socket can be had.
    package init(folder: StateFolder, since begin: Stopwatch? = nil, hangups: [Hangup]? = nil) throws(ControllerError) {
        kernel = try Kernel()
        self.folder = folder
        self.begin = begin
        self.hangups = hangups
        events = EventLog(folder)
    }

    /// Waits so many nanoseconds, or until a hang-up.
    ///
    /// - Returns: the hang-up, in words that go on "it was"; nil for none.
    func pause(_ nanoseconds: Int64) -> String? {
        let hangups = hangups ?? []
        let end = monotonicNanoseconds() + nanoseconds
        while true {
            let left = end - monotonicNanoseconds()
            guard left > 0 else { return nil }
            if let words = hangups.first(within: Int32(clamping: (left + 999_999) / 1_000_000)) { return words }
        }
    }

    /// Appends that a verb about a guest was refused, or a signal did not come, to the log of events.
    func book(_ error: ControllerError, _ id: GuestID) {
        let kind: EventKind = error.code == .timeout ? .timeout : .refused
        events.append(kind, guest: id.text, at: Stopwatch.realTime, error.description)
    }

    /// Appends the report of a verb that changed something, or tried to, to the log of events.
    func book(_ report: Report) -> Report {
        guard report.isEvent else { return report }
        var report = report
        if let note = events.append(report) { report.notes.append(note) }
        return report
    }
}
