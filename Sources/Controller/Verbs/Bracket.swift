import Netlink
public import Policy
import Records
import Switchdev
import System

extension Host {
    /// Opens a bracket: from now on each frame for the guest reaches both of its ports, until the bracket is closed.
    ///
    /// The copy from the standby to the primary is made first, then the entries move to the standby, where they are not
    /// there yet. The same call again says "already". A bracket closes by ``closeBracket(_:at:options:)`` and by
    /// ``abort(_:options:)`` only.
    ///
    /// - Parameters:
    ///   - goal: where the guest is to be, `primary` or `standby`.
    ///   - options: how.
    /// - Throws: ``ControllerError`` of codes `precondition` and `busy`; nothing was changed.
    public mutating func openBracket(
        _ id: GuestID, to goal: Side, options: VerbOptions
    ) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let journal = try openJournal(for: id)
        let record = try claim(id, in: journal, options)
        return finish(try open(record, to: goal, in: journal, clock: clock, options: options))
    }

    /// Opens a bracket; the caller holds the guest's lock, and writes the history.
    mutating func open(
        _ record: GuestRecord, to goal: Side, in journal: borrowing Journal, clock: Stopwatch, options: VerbOptions
    ) throws(ControllerError) -> Report {
        if record.phase == .bracketed, record.goal == goal {
            return alreadyOpen(record, goal: goal, clock: clock, options: options)
        }
        guard record.phase == .pinned else { throw Host.bracketInTheWay(record) ?? Host.unfinished(record) }
        if record.guest.side == goal {
            let plan = Plan(verb: .switch, guest: record.guest, from: goal, to: goal, steps: [], notes: [])
            return Report(plan, startedAt: clock.startedAt, options: options)
        }
        let observation = try observe(record, to: goal)
        try Planner.requireBracket(record, to: goal, observation: observation, options: options)
        try requireRate(record.guest, options)
        if !options.dryRun { try requirePrivilege() }
        let (bracket, notes) = try footing(record, in: journal, observation, options: options)
        var opening = record
        opening.bracket = bracket
        let copy = copyChange(opening, isOn: true, specification: try specification(record, observation))
        let plan = try Planner().openBracket(
            record.guest, to: goal, copy: copy, bracket: bracket, observation: observation,
            isProven: record.proof == .proven, notes: notes)
        if options.dryRun { return planned(plan, clock: clock, links: observation.links, options: options) }
        var report = execute(plan, record: opening, journal: journal, clock: clock, options: options)
        if report.outcome == .done {
            report.bracket = view(opening, goal: goal)
            report.notes.append("the bracket is open, by \(bracket.means.rawValue)")
        }
        return report
    }

    /// Closes a bracket on the side where the guest is, by the caller's word: the entries go there, and the copy ends.
    ///
    /// - Parameters:
    ///   - side: where the guest is: the bracket's goal when there is evidence that it has come there, the side where it
    ///     was when it has not.
    ///   - options: how.
    /// - Throws: ``ControllerError`` of codes `precondition` and `busy`; nothing was changed, and the bracket is open still.
    public mutating func closeBracket(
        _ id: GuestID, at side: Side, options: VerbOptions
    ) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let journal = try openJournal(for: id)
        let record = try claim(id, in: journal, options)
        guard record.phase == .bracketed else {
            if record.phase == .pinned, record.guest.side == side {
                let plan = Plan(
                    verb: .switch, guest: record.guest, from: side, to: side, steps: [],
                    notes: ["no bracket of \(id) is open; nothing was changed"])
                return Report(plan, startedAt: clock.startedAt, options: options)
            }
            if record.phase == .pinned {
                throw ControllerError(
                    .precondition, "no bracket of guest \(id) is open, and it is on \(record.guest.side.rawValue)",
                    remedy: "\"fdbsteer switch \(id) --to \(side.rawValue)\" moves it")
            }
            throw Host.bracketInTheWay(record) ?? Host.unfinished(record)
        }
        guard side == record.goal || side == record.guest.side || side == .standby else {
            throw ControllerError(
                .precondition,
                "the bracket of guest \(id) is from \(record.guest.side.rawValue) to \(record.goal?.rawValue ?? "nowhere")",
                remedy: "close it on one of these sides")
        }
        return finish(try close(record, at: side, verb: .switch, in: journal, clock: clock, options: options))
    }

    /// Closes what there is of a bracket; the caller holds the guest's lock, and writes the history.
    mutating func close(
        _ record: GuestRecord, at side: Side, verb: Plan.Verb, in journal: borrowing Journal, clock: Stopwatch,
        options: VerbOptions
    ) throws(ControllerError) -> Report {
        if !options.dryRun { try requirePrivilege() }
        let observation = try observe(record, to: side)
        let plan = try Planner().closeBracket(
            record.guest, at: side, copy: copyChange(record, isOn: false), observation: observation,
            isProven: record.phase == .bracketed && record.proof == .proven, verb: verb)
        if options.dryRun { return planned(plan, clock: clock, links: observation.links, options: options) }
        return execute(plan, record: record, journal: journal, clock: clock, options: options)
    }

    /// Brings an open bracket that its opener left to what it should be, and leaves it open.
    mutating func adopt(
        _ record: GuestRecord, in journal: borrowing Journal, options: VerbOptions
    ) throws(ControllerError) -> Reconciliation {
        let goal = record.goal ?? record.guest.side
        let name = record.guest.id.text
        let observation = try observe(record, to: goal)
        let plan = try Planner().openBracket(
            record.guest, to: goal, copy: nil, bracket: record.bracket ?? Bracket.none, observation: observation,
            isProven: record.proof == .proven)
        let isCopyRight = view(record)?.isCopyRight == true
        var done: [String] = []
        var isRight = true
        if !isCopyRight {
            done.append(options.dryRun ? "its copy would be made anew" : "its copy was made anew")
            if !options.dryRun { try remake(record, goal: goal, observation, journal) }
        }
        if !plan.isEmpty {
            let entries = "\(plan.changes.count) entries"
            if options.dryRun {
                done.append("\(entries) would be brought to standby")
            } else {
                let report = finish(
                    execute(plan, record: record, journal: journal, clock: Stopwatch(), options: options))
                isRight = report.exitCode == 0
                done.append(
                    isRight
                        ? "\(entries) brought back to standby"
                        : "entries are wrong still: \(report.failures.joined(separator: "; "))")
            }
        }
        let words = view(record).map { "bracket to \(goal.rawValue) \($0.words); stays open: \(Host.closing(record))" }
        return Reconciliation(
            guest: name, words: ([words ?? "bracket"] + done).joined(separator: "; "), ok: isRight)
    }

    /// Makes the copy of an open bracket anew, by what can make it now.
    private mutating func remake(
        _ record: GuestRecord, goal: Side, _ observation: Observation, _ journal: borrowing Journal
    ) throws(ControllerError) {
        guard let old = record.bracket else { return }
        let (now, _) = try footing(record, in: journal, observation, options: VerbOptions())
        let bracket = Bracket(
            openedAt: old.openedAt, means: now.means,
            ownsClsact: now.ownsClsact || (old.ownsClsact && now.means == .clsact))
        try journal.bracket(.bracketed, bracket, row: record.row, side: record.guest.side, goal: goal)
        var renewed = record
        renewed.bracket = bracket
        let change = copyChange(renewed, isOn: true, specification: try specification(record, observation))
        try ControllerError.reading("or make the copy of guest \(record.guest.id)") { () throws(NetlinkError) in
            if old.means != bracket.means {
                try Copies.remove(change.specification, by: old.means, ownsClsact: old.ownsClsact, using: &socket)
            }
            try Copies.install(
                change.specification, by: bracket.means, portName: change.portName, ownsClsact: bracket.ownsClsact,
                using: &socket)
        }
    }

    private mutating func alreadyOpen(
        _ record: GuestRecord, goal: Side, clock: Stopwatch, options: VerbOptions
    ) -> Report {
        var plan = Plan(
            verb: .switch, guest: record.guest, from: record.guest.side, to: goal, steps: [],
            notes: ["a bracket is open already; it closes by \(Host.closing(record))"])
        plan.bracket = .repairing
        var report = Report(plan, startedAt: clock.startedAt, options: options)
        report.bracket = view(record)
        return report
    }
}
