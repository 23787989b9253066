import FDB
import Netlink
public import Policy
import Records
import Switchdev
import System

extension Host {
    /// Redirects a guest's addresses to a side (strategy `cut`: one move, now).
    ///
    /// - Throws: ``ControllerError`` of codes `precondition` and `busy`; nothing was changed.
    public mutating func `switch`(
        _ id: GuestID, to side: Side, options: VerbOptions
    ) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let journal = try openJournal(for: id)
        let record = try claim(id, in: journal, options)
        if let error = Host.bracketInTheWay(record) { throw error }
        if record.phase == .preparing || record.phase == .releasing {
            throw ControllerError(
                .precondition,
                "an earlier \(record.phase == .preparing ? "prepare" : "release") of guest \(id) did not end",
                remedy: "run \"fdbsteer abort \(id)\" first")
        }
        return finish(try redirect(record, to: side, verb: .switch, in: journal, clock: clock, options: options))
    }

    /// Gives a guest's entries back to the bridge: learned, on the side that they are on, with the ports' old settings.
    public mutating func release(_ id: GuestID, options: VerbOptions) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let journal = try openJournal(for: id)
        let record = try claim(id, in: journal, options, anyBoot: true)
        if !options.dryRun { try requirePrivilege() }
        var observation = Observation(bridge: nil, ports: [:], entries: [:])
        // Interface indexes of an earlier boot name other interfaces now.
        if record.boot == journal.boot {
            observation = try Observation.read(record.guest, using: &socket)
            try observation.readFilters(of: record.guest, using: &socket)
        }
        var plan = Planner().release(
            record.guest, observation: observation, isUnfinished: record.phase == .preparing)
        if record.bracket != nil { plan = plan.ending(copyChange(record, isOn: false)) }
        if options.dryRun { return planned(plan, clock: clock, links: observation.links, options: options) }
        guard plan.isEmpty else {
            return finish(execute(plan, record: record, journal: journal, clock: clock, options: options))
        }
        try journal.remove(row: record.row)
        var report = finish(plan, clock: clock, proof: .nothingToProve, options: options)
        report.outcome = .done
        return report
    }

    /// Ends a redirection that a dead process left, on the side where the guest was; nothing when nothing was changed.
    public mutating func abort(_ id: GuestID, options: VerbOptions) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let journal = try openJournal(for: id)
        let record = try claim(id, in: journal, options)
        switch record.phase {
        case .pinned, .waiting:
            let plan = Plan(
                verb: .abort, guest: record.guest, from: record.guest.side, to: record.guest.side, steps: [],
                notes: ["no redirection of \(id) is under way; nothing was changed"])
            if options.dryRun { return planned(plan, clock: clock, links: Links([]), options: options) }
            return Report(plan, startedAt: clock.startedAt, options: options)
        case .preparing:
            if !options.dryRun { journal.unlock(row: record.row) }
            return try release(id, options: options)
        case .switching, .releasing, .opening, .bracketed, .closing:
            return try settle(record, in: journal, clock: clock, options: options)
        }
    }

    /// Brings the entries of a guest to the side that the journal says, and records that nothing is under way.
    mutating func settle(
        _ record: GuestRecord, in journal: borrowing Journal, clock: Stopwatch, options: VerbOptions
    ) throws(ControllerError) -> Report {
        if record.bracket != nil {
            return finish(
                try close(record, at: record.guest.side, verb: .abort, in: journal, clock: clock, options: options))
        }
        var report = finish(
            try redirect(record, to: record.guest.side, verb: .abort, in: journal, clock: clock, options: options))
        if record.phase != .pinned, report.outcome == .already { report.outcome = .done }
        return report
    }

    /// Brings the entries of a guest to a side; the caller holds the guest's lock, and writes the history.
    mutating func redirect(
        _ record: GuestRecord, to side: Side, verb: Plan.Verb, in journal: borrowing Journal, clock: Stopwatch,
        options: VerbOptions
    ) throws(ControllerError) -> Report {
        if !options.dryRun { try requirePrivilege() }
        var observation = try observe(record, to: side)
        try observation.readFilters(of: record.guest, using: &socket)
        let isProven = record.phase == .pinned && record.proof == .proven
        let plan = try Planner().move(
            record.guest, to: side, observation: observation, isProven: isProven, verb: verb)
        if options.dryRun { return planned(plan, clock: clock, links: observation.links, options: options) }
        guard plan.isEmpty else {
            return execute(plan, record: record, journal: journal, clock: clock, options: options)
        }
        // Found where it should be: what is known of hardware is what was known when it came there.
        let isSettled = record.guest.side == side && record.phase == .pinned
        let proof = standing(record, side: side, isSettled: isSettled)
        if !isSettled {
            // It makes sure of the record.
            try journal.begin(.switching, record, goal: side)
            try journal.settle(row: record.row, side: side, proof: proof.status)
        }
        return finish(plan, clock: clock, proof: proof, options: options)
    }

    // MARK: - Shared

    /// Locks a guest for this process and reads its record, in this order: what another process did until it let go of
    /// the lock is seen. A dry run only reads.
    func claim(
        _ id: GuestID, in journal: borrowing Journal, _ options: VerbOptions, anyBoot: Bool = false
    ) throws(ControllerError) -> GuestRecord {
        if options.dryRun { return try known(id, in: journal, anyBoot: anyBoot) }
        // Only the row first: the record is read once, when it can no longer change.
        var locked = try journal.row(of: id)
        let isOurs = locked.map { journal.tryLock(row: $0, patience: Journal.lockPatience) } ?? false
        if !isOurs {
            // Unknown, or busy: this says so.
            let record = try known(id, in: journal, anyBoot: anyBoot)
            try journal.lock(record)
            locked = record.row
        }
        var record = try known(id, in: journal, anyBoot: anyBoot)
        if let row = locked, row != record.row {
            // Released and prepared anew meanwhile: the lock is that of a guest that is no more.
            journal.unlock(row: row)
            try journal.lock(record, patience: Journal.lockPatience)
            record = try known(id, in: journal, anyBoot: anyBoot)
        }
        guard record.phase == .waiting else { return record }
        // A process that waited for a signal and died changed nothing.
        try journal.endWait(row: record.row)
        return try known(id, in: journal, anyBoot: anyBoot)
    }

    /// The journal for a verb about a guest that must exist: not made when it is missing.
    func openJournal(for id: GuestID) throws(ControllerError) -> Journal {
        guard folder.hasJournal else {
            throw ControllerError(
                .precondition, "guest \(id) is not known: there is no journal \(folder.stateFile)",
                remedy: "prepare the guest first, or name the right folder by --state or FDBSTEER_STATE")
        }
        return try Journal(folder: folder)
    }

    /// What is known of hardware when nothing had to be changed.
    private func standing(_ record: GuestRecord, side: Side, isSettled: Bool) -> OffloadProof {
        if record.guest.eswitchPort == nil, record.guest.nic == nil { return .nothingToProve }
        if isSettled, record.proof == .proven { return .remembered(side) }
        return .missing(
            reason:
                "the entries are right, but not fresh, so that an OFFLOADED flag says nothing; release the guest and "
                + "prepare it anew to renew them")
    }

    func planned(_ plan: Plan, clock: Stopwatch, links: Links, options: VerbOptions) -> Report {
        var report = Report(plan, startedAt: clock.startedAt, options: options)
        report.outcome = .planned
        let guest = plan.guest
        report.messages = plan.messages { links[$0]?.name ?? guest.name(ofPort: $0) }
        return report
    }

    func finish(_ plan: Plan, clock: Stopwatch, proof: OffloadProof, options: VerbOptions) -> Report {
        var report = Report(plan, startedAt: clock.startedAt, options: options)
        report.timings.totalNanoseconds = clock.elapsed
        report.state(proof)
        return report
    }

    /// Writes what was done, or tried, to the history.
    func finish(_ report: Report) -> Report {
        guard report.isEvent else { return report }
        var report = report
        if let note = record(report) { report.notes.append(note) }
        return report
    }
}
