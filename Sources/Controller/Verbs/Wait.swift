import Glibc
package import Policy
import Records
import Switchdev
import System

/// Redirects a guest's addresses to a side when a signal comes (strategy `cut`).
///
/// Everything that can be checked is checked before the wait: the plan, the privilege, the signals. Where nothing would
/// be changed there is no wait.
package struct SwitchAtSignal {
    let side: Side
    let wait: SignalWait
    let options: VerbOptions

    package init(to side: Side, when wait: SignalWait, options: VerbOptions = VerbOptions()) {
        self.side = side
        self.wait = wait
        self.options = options
    }

    /// - Throws: ``ControllerError`` of codes `precondition`, `busy` and `timeout`; nothing was changed.
    ///
    /// - Parameter tell: takes why a signal cannot be heard at present, once for each reason.
    package func run(
        _ id: GuestID, on host: inout Host, tell: (String) -> Void = { _ in }
    ) throws(ControllerError) -> Report {
        var planned = try Switch(to: side, options: options.onlyPlanning).run(id, on: &host)
        guard !options.dryRun, planned.messages?.isEmpty == false else {
            if !options.dryRun { return try Switch(to: side, options: options).run(id, on: &host) }
            planned.notes.append("would wait for \(wait.words)")
            return planned
        }
        let journal = try host.journal(for: id)
        let record = try journal.guest(id)
        let guest = record.guest
        try host.kernel.requirePrivilege()
        var waiter = try SignalWaiter(
            wait, guest: guest, ips: journal.ips(of: id), until: host.hangups, using: &host.kernel.socket)
        let sighting: SignalSighting
        switch try waiter.run(for: id, goal: side, in: journal, tell) {
        case .came(let seen): sighting = seen
        case let outcome:
            let error = wait.missed(outcome, standing(of: guest, in: journal))
            host.book(error, id, to: side, in: journal)
            throw error
        }
        let claim = try journal.claim(id)
        guard claim.record.row == record.row else {
            throw ControllerError(
                .precondition, "guest \(id) was released and prepared anew during the wait; nothing was changed",
                remedy: "switch it again, if it is still to go to \(side.rawValue)")
        }
        var report = try Switch(to: side, options: options).run(under: claim, on: &host.kernel, since: Stopwatch())
        report.sighting = sighting
        return host.book(report)
    }

    /// Where a guest is after a wait without a signal: others may have redirected or released it meanwhile.
    private func standing(of guest: GuestInterface, in journal: Journal) -> String {
        guard let now = (try? journal.record(guest.id))??.guest.side else {
            return "guest \(guest.id) was released meanwhile, this wait changed nothing"
        }
        return now == guest.side
            ? "guest \(guest.id) stays on \(now.rawValue), nothing was changed"
            : "guest \(guest.id) is on \(now.rawValue) by now, this wait changed nothing"
    }
}

/// Redirects a guest's addresses to a side by a bracket that a signal closes: the evidence that the guest has come there.
package struct BracketUntilSignal {
    let goal: Side
    let wait: SignalWait
    /// Closes the bracket where the guest was when no signal came; otherwise it stays open.
    let closesWithoutSignal: Bool
    let options: VerbOptions

    package init(
        to goal: Side, until wait: SignalWait, closesWithoutSignal: Bool = false, options: VerbOptions = VerbOptions()
    ) {
        self.goal = goal
        self.wait = wait
        self.closesWithoutSignal = closesWithoutSignal
        self.options = options
    }

    /// - Throws: ``ControllerError`` of codes `precondition` and `busy` when nothing was changed; of code `timeout`, also when the
    ///   wait was interrupted: the message says how the bracket stands.
    ///
    /// - Parameter tell: takes why a signal cannot be heard at present, once for each reason.
    package func run(
        _ id: GuestID, on host: inout Host, tell: (String) -> Void = { _ in }
    ) throws(ControllerError) -> Report {
        let journal = try host.journal(for: id)
        let guest = try journal.guest(id).guest
        // Before the bracket: what cannot be waited for must not open one.
        var waiter = try SignalWaiter(
            wait, guest: guest, ips: journal.ips(of: id), until: host.hangups, using: &host.kernel.socket)
        var opened = try OpenBracket(to: goal, options: options).run(id, on: &host)
        guard !options.dryRun, opened.exitCode == 0 else {
            opened.notes.append("would wait for \(wait.words)")
            return opened
        }
        let record = try journal.guest(id)
        guard record.phase == .bracketed else { return opened }
        let outcome = try waiter.run(for: id, goal: goal, in: journal, whileOpen: record, tell)
        return try end(outcome, record, journal, on: &host)
    }

    /// Closes the bracket where the outcome says, unless others have, and tells how the guest stands by its record then.
    private func end(
        _ outcome: SignalWaiter.Outcome, _ record: GuestRecord, _ journal: Journal, on host: inout Host
    ) throws(ControllerError) -> Report {
        let id = record.guest.id
        var sighting: SignalSighting?
        if case .came(let seen) = outcome { sighting = seen }
        var (isOurs, trouble) = (false, "")
        if let side = sighting != nil ? goal : closesWithoutSignal ? record.guest.side : nil {
            do throws(ControllerError) {
                let claim = try journal.claim(id)
                if claim.record.hasBracket(of: record) {
                    var report = try CloseBracket(at: side, options: options).run(
                        under: claim, on: &host.kernel, since: Stopwatch())
                    report.sighting = sighting
                    report = host.book(report)
                    if sighting != nil { return report }
                    isOurs = report.exitCode == 0
                    if !isOurs { trouble = "; it was not closed: \(report.failures.joined(separator: "; "))" }
                }
            } catch { trouble = "; it was not closed: \(error.message)" }
        }
        let now = (try? journal.record(id)) ?? nil
        let isOpen = now?.hasBracket(of: record) == true
        let standing =
            record.standing(ofBracket: now) + (isOpen ? trouble : isOurs || now?.row != record.row ? "" : " by others")
        if !isOurs, let now, now.row == record.row, now.phase == .pinned, now.guest.side == goal {
            // What was asked for is so.
            let plan = Plan(
                verb: .switch, guest: now.guest, from: goal, to: goal, steps: [], notes: [standing], strategy: .bracket,
                books: .nothing)
            var report = Report(plan, startedAt: Stopwatch().startedAt, options: options)
            report.sighting = sighting
            return report
        }
        let error = wait.missed(outcome, standing, bracket: isOpen)
        host.book(error, id, to: goal, .closes, in: journal)
        throw error
    }
}

extension GuestRecord {
    /// The bracket that was open then is open still. A repair may have made its copy anew, by other means.
    fileprivate func hasBracket(of earlier: GuestRecord) -> Bool {
        row == earlier.row && bracket != nil && bracket?.openedAt == earlier.bracket?.openedAt
    }

    /// What has become of its bracket.
    ///
    /// - Parameter now: the guest's record at present; nil for none.
    fileprivate func standing(ofBracket now: GuestRecord?) -> String {
        guard let now else { return "guest \(guest.id) was released meanwhile" }
        let side = now.guest.side.rawValue
        guard now.row == row else { return "guest \(guest.id) was released and prepared anew meanwhile, on \(side)" }
        guard now.hasBracket(of: self) else { return "the bracket of guest \(guest.id) was closed on \(side)" }
        return now.phase == .bracketed
            ? "the bracket of guest \(guest.id) stays open, frames reach both ports"
            : "the \(now.phase.rawValue) of the bracket of guest \(guest.id) has not ended"
    }
}

extension SignalWaiter {
    /// Waits, and says so in the journal. Others redirect and repair the guest meanwhile.
    ///
    /// - Parameter bracketed: the record with the bracket whose closing by others ends the wait; nil for a cut.
    fileprivate mutating func run(
        for id: GuestID, goal: Side, in journal: Journal, whileOpen bracketed: GuestRecord? = nil,
        _ tell: (String) -> Void
    ) throws(ControllerError) -> SignalWaiter.Outcome {
        let waiting = try Waiting(wait, for: id, goal: goal, now: Stopwatch.realTime, in: journal)
        return try run(
            until: {
                guard waiting.isWanted else { return "aborted" }
                // A record that cannot be read says nothing.
                guard let bracketed, let now = try? journal.record(id) as GuestRecord?? else { return nil }
                return now?.hasBracket(of: bracketed) == true ? nil : "ended"
            }, tell)
    }
}

extension SignalWait {
    /// Why a wait ended without a signal, and how things stand.
    ///
    /// - Parameter bracket: whether its bracket is open still; nil for a wait without one, which changed nothing.
    fileprivate func missed(
        _ outcome: SignalWaiter.Outcome, _ standing: String, bracket: Bool? = nil
    ) -> ControllerError {
        let code: ControllerError.Code = bracket == nil ? .precondition : .timeout
        let isOpen = bracket == true
        switch outcome {
        case .interrupted(let how):
            return ControllerError(code, "the wait for \(words) was \(how); \(standing)")
        case .impossible(let reasons):
            return ControllerError(
                code, "no signal can come any more (\(reasons.joined(separator: "; "))); \(standing)",
                remedy: isOpen
                    ? "close the bracket by --close on the side where the guest is"
                    : "name another signal by --until, or switch it without --until once the guest is there")
        case .came(let seen): return ControllerError(code, "\(seen.signal) came; \(standing)")
        case .timedOut(let troubles):
            let why = troubles.isEmpty ? "" : ", which was not heard at the end: \(troubles.joined(separator: "; "))"
            return ControllerError(
                .timeout, "no signal came in \(timeout / 1_000_000) ms (\(words)\(why)); \(standing)",
                remedy: "see what the guest did, then "
                    + (isOpen
                        ? "close the bracket by --close" : "switch it without --until, or wait longer by --timeout"))
        }
    }
}
