import Glibc
public import Policy
import Records
import Switchdev
import System

extension Host {
    /// Redirects a guest's addresses to a side when a signal comes (strategy `cut`).
    ///
    /// Everything that can be checked is checked before the wait: the plan, the privilege, the signals. Where nothing would
    /// be changed there is no wait.
    ///
    /// - Parameters:
    ///   - id: the guest.
    ///   - side: where to.
    ///   - wait: what for, and how long.
    ///   - options: how.
    /// - Throws: ``ControllerError`` of codes `precondition`, `busy` and `timeout`; nothing was changed.
    public mutating func `switch`(
        _ id: GuestID, to side: Side, when wait: SignalWait, options: VerbOptions
    ) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let planned = try self.switch(id, to: side, options: options.onlyPlanning)
        guard !options.dryRun, planned.messages?.isEmpty == false else {
            if !options.dryRun { return try self.switch(id, to: side, options: options) }
            var report = planned
            report.notes.append("would wait for \(wait.words)")
            return report
        }
        let journal = try openJournal(for: id)
        let record = try claim(id, in: journal, options)
        let sighting = try awaitSignal(wait, for: record, goal: side, in: journal)
        var report: Report
        do throws(ControllerError) {
            report = try redirect(record, to: side, verb: .switch, in: journal, clock: clock, options: options)
            report.signal = sighting
        } catch {
            try? journal.endWait(row: record.row)
            throw error
        }
        try? journal.endWait(row: record.row)
        return finish(report)
    }

    /// Redirects a guest's addresses to a side by a bracket that a signal closes: the evidence that the guest has come there.
    ///
    /// - Parameters:
    ///   - id: the guest.
    ///   - goal: where to.
    ///   - wait: what for, and how long.
    ///   - closesWithoutSignal: closes the bracket where the guest was when no signal came; otherwise it stays open.
    ///   - options: how.
    /// - Throws: ``ControllerError`` of codes `precondition` and `busy` when nothing was changed; of code `timeout`, also when the
    ///   wait was interrupted: the message says how the bracket stands.
    public mutating func bracket(
        _ id: GuestID, to goal: Side, until wait: SignalWait, closesWithoutSignal: Bool = false, options: VerbOptions
    ) throws(ControllerError) -> Report {
        guard let reading = try Journal(reading: folder) else {
            throw ControllerError(.precondition, "guest \(id) is not known", remedy: "prepare it first")
        }
        let guest = try known(id, in: reading).guest
        // Before the bracket: what cannot be waited for must not open one.
        var waiter = try SignalWaiter(wait, guest: guest, using: &socket)
        var opened = try openBracket(id, to: goal, options: options)
        guard !options.dryRun, opened.exitCode == 0 else {
            opened.notes.append("would wait for \(wait.words)")
            return opened
        }
        let sighting: SignalSighting
        do {
            let journal = try openJournal(for: id)
            let record = try claim(id, in: journal, options)
            guard record.phase == .bracketed else { return opened }
            switch try run(&waiter, wait, for: record, goal: goal, in: journal) {
            case .came(let seen): sighting = seen
            case let outcome:
                journal.unlock(row: record.row)
                if closesWithoutSignal { _ = try closeBracket(id, at: record.guest.side, options: options) }
                throw Host.withoutSignal(
                    outcome, wait,
                    closesWithoutSignal
                        ? "the bracket of guest \(id) was closed on \(record.guest.side.rawValue)"
                        : "the bracket of guest \(id) stays open, frames reach both ports", isOpen: true)
            }
        }
        var report = try closeBracket(id, at: goal, options: options)
        report.signal = sighting
        return report
    }

    /// Waits for a signal on behalf of a guest whose lock the caller holds; the journal says so meanwhile.
    ///
    /// When it came, the phase is `waiting` still: what the caller begins then replaces it, or ``Journal/endWait(row:)``.
    ///
    /// - Parameters:
    ///   - wait: what for, and how long.
    ///   - record: the guest, in phase `pinned`.
    ///   - goal: where it will be redirected to.
    ///   - journal: open for writing.
    /// - Throws: ``ControllerError`` of code `precondition` when a signal cannot be waited for or the wait was interrupted,
    ///   of code `timeout`; the phase is as before then.
    mutating func awaitSignal(
        _ wait: SignalWait, for record: GuestRecord, goal: Side, in journal: borrowing Journal
    ) throws(ControllerError) -> SignalSighting {
        try requirePrivilege()
        var waiter = try SignalWaiter(wait, guest: record.guest, using: &socket)
        let outcome = try run(&waiter, wait, for: record, goal: goal, in: journal)
        if case .came(let sighting) = outcome { return sighting }
        throw Host.withoutSignal(
            outcome, wait, "guest \(record.guest.id) stays on \(record.guest.side.rawValue), nothing was changed",
            isOpen: false)
    }

    /// Waits, and says so in the journal; without a signal the phase is as before then.
    private func run(
        _ waiter: inout SignalWaiter, _ wait: SignalWait, for record: GuestRecord, goal: Side,
        in journal: borrowing Journal
    ) throws(ControllerError) -> SignalWaiter.Outcome {
        try journal.beginWait(wait, record, goal: goal, now: Stopwatch.realTime)
        do throws(ControllerError) {
            let outcome = try waiter.run()
            if case .came = outcome { return outcome }
            try journal.endWait(row: record.row)
            return outcome
        } catch {
            try? journal.endWait(row: record.row)
            throw error
        }
    }

    private static func withoutSignal(
        _ outcome: SignalWaiter.Outcome, _ wait: SignalWait, _ standing: String, isOpen: Bool
    ) -> ControllerError {
        // With a bracket open something was changed.
        let code: ControllerError.Code = isOpen ? .timeout : .precondition
        switch outcome {
        case .interrupted(let number):
            return ControllerError(
                code,
                "the wait for \(wait.words) was interrupted by \(number == SIGINT ? "SIGINT" : "SIGTERM"); \(standing)")
        case .impossible(let reasons):
            return ControllerError(
                code, "no signal can come any more (\(reasons.joined(separator: "; "))); \(standing)")
        default:
            return ControllerError(
                .timeout, "no signal came in \(wait.timeout / 1_000_000) ms (\(wait.words)); \(standing)",
                remedy: "see what the guest did, then "
                    + (isOpen
                        ? "close the bracket by --close" : "switch it without --until, or wait longer by --timeout"))
        }
    }
}
