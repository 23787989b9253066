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
            let error = wait.missed(outcome, standing(of: guest, in: journal), isOpen: false)
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
        switch try waiter.run(for: id, goal: goal, in: journal, tell) {
        case .came(let seen):
            return try close(at: goal, record, journal, after: seen, on: &host)
        case let outcome:
            let side = record.guest.side
            if closesWithoutSignal { _ = try close(at: side, record, journal, on: &host) }
            let error = wait.missed(
                outcome,
                closesWithoutSignal
                    ? "the bracket of guest \(id) was closed on \(side.rawValue)"
                    : "the bracket of guest \(id) stays open, frames reach both ports", isOpen: true)
            host.book(error, id, to: goal, in: journal)
            throw error
        }
    }

    private func close(
        at side: Side, _ record: GuestRecord, _ journal: Journal, after signal: SignalSighting? = nil,
        on host: inout Host
    ) throws(ControllerError) -> Report {
        let claim = try journal.claim(record.guest.id)
        // A repair may have made the copy anew, by other means.
        guard claim.record.row == record.row, let opened = claim.record.bracket?.openedAt,
            opened == record.bracket?.openedAt
        else {
            throw ControllerError(
                .precondition,
                "the bracket of guest \(record.guest.id) was closed by others; the guest is on "
                    + claim.record.guest.side.rawValue)
        }
        var report = try CloseBracket(at: side, options: options).run(
            under: claim, on: &host.kernel, since: Stopwatch())
        report.sighting = signal
        return host.book(report)
    }
}

extension SignalWaiter {
    /// Waits, and says so in the journal. Others redirect and repair the guest meanwhile.
    fileprivate mutating func run(
        for id: GuestID, goal: Side, in journal: Journal, _ tell: (String) -> Void
    ) throws(ControllerError) -> SignalWaiter.Outcome {
        let waiting = try Waiting(wait, for: id, goal: goal, now: Stopwatch.realTime, in: journal)
        return try run(while: { waiting.isWanted }, tell)
    }
}

extension SignalWait {
    /// Why a wait ended without a signal, and how things stand.
    ///
    /// - Parameter isOpen: with a bracket open something was changed.
    fileprivate func missed(
        _ outcome: SignalWaiter.Outcome, _ standing: String, isOpen: Bool
    ) -> ControllerError {
        let code: ControllerError.Code = isOpen ? .timeout : .precondition
        switch outcome {
        case .interrupted(let how):
            return ControllerError(code, "the wait for \(words) was \(how); \(standing)")
        case .impossible(let reasons):
            return ControllerError(
                code, "no signal can come any more (\(reasons.joined(separator: "; "))); \(standing)",
                remedy: isOpen
                    ? "close the bracket by --close on the side where the guest is"
                    : "name another signal by --until, or switch it without --until once the guest is there")
        case .came: return ControllerError(code, "\(words) came; \(standing)")
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
