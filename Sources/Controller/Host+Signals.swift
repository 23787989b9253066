import Glibc
import Switchdev

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
        } catch {
            try? journal.endWait(row: record.row)
            throw error
        }
        try? journal.endWait(row: record.row)
        report.signal = sighting
        return finish(report)
    }

    /// Redirects a guest's addresses by a bracket that is open until a signal comes.
    ///
    /// What is waited for is looked at before the bracket is opened, so that nothing is missed. Without a signal the bracket
    /// stays open: to close it by a guess would lose everything.
    ///
    /// - Parameters:
    ///   - id: the guest.
    ///   - goal: where to.
    ///   - wait: what for, and how long.
    ///   - options: how.
    /// - Throws: ``ControllerError`` of codes `precondition` and `busy`, where nothing was changed, and `timeout`: the bracket is
    ///   open.
    public mutating func bracket(
        _ id: GuestID, to goal: Side, until wait: SignalWait, options: VerbOptions
    ) throws(ControllerError) -> Report {
        let journal = try openJournal(for: id)
        let guest = try known(id, in: journal).guest
        if options.dryRun {
            var report = try openBracket(id, to: goal, options: options)
            report.notes.append("would stay open until \(wait.words)")
            return report
        }
        try requirePrivilege()
        var waiter = try SignalWaiter(wait, guest: guest, using: &socket)
        let opened = try openBracket(id, to: goal, options: options)
        let record = try claim(id, in: journal, options)
        guard opened.exitCode == 0, record.phase == .bracketed else { return opened }
        try journal.beginWait(wait, row: record.row, goal: goal, now: Stopwatch().startedAt, isBracketed: true)
        let outcome = try waiter.run()
        guard case .came(let sighting) = outcome else {
            let reason = Host.withoutSignal(
                outcome, wait, guest, "guest \(id) has its bracket open still: frames reach both ports")
            throw ControllerError(
                reason.code, reason.message,
                remedy: Host.closing(record))
        }
        var report = try close(
            record, at: goal, verb: .switch, in: journal, clock: Stopwatch(), options: options)
        report.signal = sighting
        return finish(report)
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
        _ wait: SignalWait, for record: Journal.Record, goal: Side, in journal: borrowing Journal
    ) throws(ControllerError) -> SignalSighting {
        try requirePrivilege()
        var waiter = try SignalWaiter(wait, guest: record.guest, using: &socket)
        try journal.beginWait(wait, row: record.row, goal: goal, now: Stopwatch().startedAt)
        let outcome: SignalWaiter.Outcome
        do throws(ControllerError) {
            outcome = try waiter.run()
            if case .came(let sighting) = outcome { return sighting }
        } catch {
            try? journal.endWait(row: record.row)
            throw error
        }
        try journal.endWait(row: record.row)
        throw Host.withoutSignal(
            outcome, wait, record.guest,
            "guest \(record.guest.id) stays on \(record.guest.side.rawValue), nothing was changed")
    }

    private static func withoutSignal(
        _ outcome: SignalWaiter.Outcome, _ wait: SignalWait, _ guest: GuestInterface, _ stays: String
    ) -> ControllerError {
        switch outcome {
        case .interrupted(let number):
            return ControllerError(
                .precondition,
                "the wait for \(wait.words) was interrupted by \(number == SIGINT ? "SIGINT" : "SIGTERM"); "
                    + stays)
        case .impossible(let reasons):
            return ControllerError(
                .precondition, "no signal can come any more (\(reasons.joined(separator: "; "))); \(stays)")
        default:
            return ControllerError(
                .timeout, "no signal came in \(wait.timeout / 1_000_000) ms (\(wait.words)); \(stays)",
                remedy: "see what the guest did, then switch it without --until, or wait longer by --timeout")
        }
    }
}

extension VerbOptions {
    /// The same, but only to plan.
    fileprivate var onlyPlanning: VerbOptions {
        VerbOptions(
            dryRun: true, requireProof: requireProof, proofTimeout: proofTimeout, waived: waived,
            observation: observation)
    }
}
