import FDB
package import Policy
package import Records
import Switchdev
package import System

/// Ends a redirection that a dead process left, on the side where the guest was; nothing when nothing was changed.
package struct Abort: GuestVerb {
    package let options: VerbOptions

    package init(options: VerbOptions = VerbOptions()) { self.options = options }

    package func run(
        under claim: borrowing Claim, on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let guest = claim.record.guest
        switch claim.record.phase {
        case .pinned:
            let plan = Plan(
                verb: .abort, guest: guest, from: guest.side, to: guest.side, steps: [],
                notes: ["no redirection of \(guest.id) is under way; nothing was changed"])
            if options.dryRun {
                let nothing = Observation(bridge: nil, ports: BySide(), entries: [:])
                return Report(planned: plan, startedAt: clock.startedAt, nothing, options: options)
            }
            return Report(plan, startedAt: clock.startedAt, options: options)
        case .preparing:
            return try Release(options: options).run(under: claim, on: &kernel, since: clock)
        case .switching, .releasing, .opening, .bracketed, .closing:
            return try putBack(claim, for: .abort, on: &kernel, since: clock)
        }
    }

    /// Brings the entries of a guest to the side that the journal says, makes its guard again, and records that nothing is under way.
    ///
    /// - Parameters:
    ///   - verb: on whose behalf.
    ///   - arrival: the side where a switch has brought them already: there they stay.
    ///   - claimed: addresses that stay where they are, and are named.
    func putBack(
        _ claim: borrowing Claim, for verb: Plan.Verb, at arrival: Side? = nil, sparing claimed: Claimed? = nil,
        on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let (record, guest) = (claim.record, claim.record.guest)
        if record.phase != .pinned, record.phase != .bracketed,
            let gone = try Abort.missing(guest, at: arrival ?? guest.side, on: &kernel)
        {
            return try end(gone, for: verb, under: claim, on: &kernel, since: clock)
        }
        var report: Report
        do throws(ControllerError) {
            report = try moveBack(claim, for: verb, at: arrival, sparing: claimed, on: &kernel, since: clock)
        } catch {
            if !options.dryRun { _ = try? kernel.restoreGuard(of: guest) }
            throw error
        }
        // A release that did not end has removed it.
        var there = guest
        there.side = arrival ?? guest.side
        if !options.dryRun, (try? kernel.restoreGuard(of: there)) == true {
            report.notes.append("make the nftables table \(SourceGuard.table(ofBridge: guest.bridge.index)) again")
            if report.outcome == .already { report.outcome = .done }
        }
        return report
    }

    private func moveBack(
        _ claim: borrowing Claim, for verb: Plan.Verb, at arrival: Side?, sparing claimed: Claimed?,
        on kernel: inout Kernel, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let record = claim.record
        if record.bracket != nil {
            return try CloseBracket(at: record.guest.side, verb: verb, options: options).run(
                under: claim, on: &kernel, since: clock)
        }
        let side = arrival ?? record.guest.side
        var report = try Switch(
            to: side, verb: verb, options: options, renews: arrival != nil, sparing: claimed?.addresses
        ).run(under: claim, on: &kernel, since: clock)
        if let claimed { report.notes.append(claimed.words) }
        if record.phase != .pinned, report.outcome == .already { report.outcome = .done }
        return report
    }

    /// What the side of a guest lacks, so that nothing can be brought there; nil if nothing is missing.
    static func missing(
        _ guest: GuestInterface, at side: Side, on kernel: inout Kernel
    ) throws(ControllerError) -> String? {
        let observation = try kernel.observePorts(of: guest)
        guard let bridge = observation.bridge else { return "bridge \(guest.bridge.name) no longer exists" }
        if guest.port(of: side) == nil || observation.ports[side]?.master == bridge.index { return nil }
        return "\(side.rawValue) port \(guest.port(of: side)?.name ?? "") is no port of \(bridge.name) any more"
    }

    /// Ends what cannot be undone, because what it was about is gone: a release comes to its end; everything else is no longer under
    /// way, and the guest is where it was as far as anybody knows. So it can be released, redirected, or found to have lost its port.
    private func end(
        _ gone: String, for verb: Plan.Verb, under claim: borrowing Claim, on kernel: inout Kernel,
        since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let (record, side) = (claim.record, claim.record.guest.side)
        if record.phase == .releasing {
            return try Release(options: options).run(under: claim, on: &kernel, since: clock)
        }
        if !options.dryRun {
            let end: JournalChange =
                if let bracket = record.bracket {
                    .bracket(.bracketed, bracket, side: side, goal: record.goal ?? side, proof: nil)
                } else { .settled(side, proof: .earlier(.missing), endsBracket: false) }
            try claim.write(end)
        }
        let plan = Plan(
            verb: verb, guest: record.guest, from: side, to: side, steps: [],
            notes: ["\(gone): nothing is brought back there"])
        var report = Report(plan, startedAt: clock.startedAt, options: options)
        report.outcome = options.dryRun ? .planned : .done
        return report
    }
}

extension Abort {
    /// The same for a guest whose redirection may still wait for a signal: the wait is ended, before a cut, and after a bracket is
    /// closed, so that who waits tells that.
    ///
    /// - Throws: ``ControllerError`` as ``GuestVerb/run(_:on:)``, and of code `busy` for a wait for a cut that cannot be ended.
    package func runEndingWait(_ id: GuestID, on host: inout Host) throws(ControllerError) -> Report {
        guard !options.dryRun, let journal = try Journal(reading: host.folder), let wait = journal.wait(of: id.text)
        else { return try run(id, on: &host) }
        let isOpen = ((try? journal.record(id)) ?? nil)?.phase == .bracketed
        if !isOpen { _ = try journal.endWait(of: id.text) }
        var report = try run(id, on: &host)
        let process = wait.holder.map { "process \($0.pid)" } ?? "a process"
        var note = "\(process) waits for \(wait.signals.joined(separator: " or ")) no longer"
        if isOpen {
            do throws(ControllerError) { _ = try journal.endWait(of: id.text) } catch { note = error.description }
        }
        report.notes.insert(note, at: 0)
        if report.outcome == .already { report.outcome = .done }
        return report
    }
}
