import Netlink
package import Policy
package import Records
package import System

/// fdbsteer on one network namespace of one host: the kernel, and the records of its guests.
///
/// It belongs to the thread that made it, and to that thread's network namespace. Verbs are run on it.
package struct Host: ~Copyable {
    var kernel: Kernel
    private(set) var folder: StateFolder
    private(set) var events: EventLog
    /// What ends waits for signals; nil for the process's own signals.
    private(set) var hangups: [Hangup]?
    private let begin: Stopwatch?
    /// The journal of a host that serves one call after the other, once it was needed.
    private var journal: Journal?
    private var isServing = false
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

    /// Begins another call. From the first on, what the next one can use is kept: sockets, groups of bridges, and the journal.
    ///
    /// - Parameters:
    ///   - doer: who calls.
    ///   - hangups: what ends the call's waits for signals.
    package mutating func serve(_ doer: Doer, until hangups: [Hangup]) {
        folder = folder.worked(by: doer)
        events = EventLog(folder)
        self.hangups = hangups
        journal?.work(for: doer)
        isServing = true
        kernel.groupBuffer = Host.servingGroupBuffer
        (kernel.guardRefusal, kernel.lockRefusal) = (nil, nil)
    }

    /// The call is over, and its caller has the answer.
    package func rest() { journal?.rest() }

    /// The receive buffer for notifications of groups, in bytes, of a host that hears them with its next call only. When it is full the
    /// groups are read again.
    private static let servingGroupBuffer: Int32 = 512 << 10
    /// The records that such a host keeps.
    private static let servingRecords = 64

    /// The journal, for a verb about a guest that must exist.
    ///
    /// - Throws: as ``Journal/open(_:for:keepingRecords:)``.
    mutating func journal(for id: GuestID) throws(ControllerError) -> Journal {
        if let journal { return journal }
        guard isServing else { return try Journal.open(folder, for: id) }
        let opened = try Journal.open(folder, for: id, keepingRecords: Host.servingRecords)
        opened.work(for: folder.doer)
        journal = opened
        return opened
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
    ///
    /// - Parameters:
    ///   - goal: the side that the verb asked for.
    ///   - change: what it was to do to a bracket.
    func book(
        _ error: ControllerError, _ id: GuestID, to goal: Side?, _ change: BracketChange? = nil, in journal: Journal
    ) {
        let kind: EventKind = error.code == .timeout ? .timeout : .refused
        events.append(
            kind, guest: id.text, at: Stopwatch.realTime, error.description,
            from: (try? journal.record(id))??.guest.side, to: goal, bracketChange: change)
    }

    /// Appends the report of a verb that changed something, or tried to, to the log of events.
    func book(_ report: Report) -> Report {
        guard report.isEvent else { return report }
        var report = report
        if let note = events.append(report) { report.notes.append(note) }
        return report
    }
}
