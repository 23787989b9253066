import FDB
import Glibc
import Netlink
import Switchdev

extension Journal.Record {
    /// Where the entries are pinned: on the standby while a bracket is open, whatever the side.
    var entrySide: Side { phase == .bracketed ? .standby : guest.side }
}

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
        if record.phase == .bracketed, record.goal == goal {
            return alreadyOpen(record, goal: goal, clock: clock, options: options)
        }
        guard record.phase == .pinned else { throw Host.bracketInTheWay(record) ?? Host.unfinished(record) }
        var observation = try Observation.read(record.guest, using: &socket)
        if record.guest.side == goal {
            let plan = Plan(verb: .switch, guest: record.guest, from: goal, to: goal, steps: [], notes: [])
            return Report(plan, clock: clock, options: options)
        }
        try Planner.requireBracket(record, to: goal, observation: observation, options: options)
        try requireRate(record.guest, options)
        if !options.dryRun { try requirePrivilege() }
        try observation.readGroups(of: record.guest, to: goal, phase: record.phase, using: &socket)
        let (bracket, notes) = try footing(record, in: journal, observation)
        var opening = record
        opening.bracket = bracket
        let copy = copyChange(opening, isOn: true, specification: try specification(record, observation))
        var plan = try Planner().openBracket(
            record.guest, to: goal, copy: copy, bracket: bracket, observation: observation,
            isProven: record.proof == .proven, notes: notes)
        plan.findings = Host.findings(record.guest, observation)
        if options.dryRun { return planned(plan, clock: clock, links: observation.links, options: options) }
        var report = execute(plan, record: opening, journal: journal, clock: clock, options: options)
        if report.outcome == .done {
            opening.guest.side = record.guest.side
            report.bracket = view(opening, goal: goal)
        }
        return finish(report)
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
                return Report(plan, clock: clock, options: options)
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
        return try close(record, at: side, verb: .switch, in: journal, clock: clock, options: options)
    }

    /// Closes what there is of a bracket; the caller holds the guest's lock.
    mutating func close(
        _ record: Journal.Record, at side: Side, verb: Plan.Verb, in journal: borrowing Journal, clock: Stopwatch,
        options: VerbOptions
    ) throws(ControllerError) -> Report {
        if !options.dryRun { try requirePrivilege() }
        var observation = try Observation.read(record.guest, using: &socket)
        try observation.readGroups(of: record.guest, to: side, phase: record.phase, using: &socket)
        let plan = try Planner().closeBracket(
            record.guest, at: side, copy: copyChange(record, isOn: false), observation: observation,
            isProven: record.phase == .bracketed && record.proof == .proven, verb: verb)
        if options.dryRun { return planned(plan, clock: clock, links: observation.links, options: options) }
        return finish(execute(plan, record: record, journal: journal, clock: clock, options: options))
    }

    /// Brings an open bracket that its opener left to what it should be, and leaves it open.
    mutating func adopt(
        _ record: Journal.Record, in journal: borrowing Journal, options: VerbOptions
    ) throws(ControllerError) -> Reconciliation {
        let goal = record.goal ?? record.guest.side
        let name = record.guest.id.text
        var observation = try Observation.read(record.guest, using: &socket)
        try observation.readGroups(of: record.guest, to: goal, phase: record.phase, using: &socket)
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
        _ record: Journal.Record, goal: Side, _ observation: Observation, _ journal: borrowing Journal
    ) throws(ControllerError) {
        guard let old = record.bracket else { return }
        let (now, _) = try footing(record, in: journal, observation)
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

    // MARK: - Driving

    /// Makes or removes a copy; what it carried goes into the report before it is gone.
    mutating func copy(_ change: CopyChange, report: inout Report) -> Redirection.Event {
        let bracket = change.bracket
        do throws(NetlinkError) {
            if change.isOn {
                try Copies.install(
                    change.specification, by: bracket.means, portName: change.portName,
                    ownsClsact: bracket.ownsClsact, using: &socket)
            } else {
                let state = try? Copies.state(change.specification, by: bracket.means, using: &socket)
                try Copies.remove(
                    change.specification, by: bracket.means, ownsClsact: bracket.ownsClsact, using: &socket)
                var view = BracketView(bracket, goal: report.to, state: state, now: Host.realTime)
                view.isOpen = false
                report.bracket = view
            }
            return .done
        } catch {
            return .failed(
                Redirection.Failure(
                    "cannot \(change.isOn ? "make" : "remove") the copy from \(change.portName) to \(change.targetName)",
                    cause: error))
        }
    }

    /// Records what a plan about a bracket is about to do.
    func beginBracket(
        _ plan: Plan, _ record: Journal.Record, _ journal: borrowing Journal
    ) throws(ControllerError) {
        switch plan.bracket {
        case .opening(let bracket):
            try journal.bracket(.opening, bracket, row: record.row, side: plan.from, goal: plan.to)
        case .closing:
            guard let bracket = record.bracket else { return }
            // From here on the guest is where the caller says, whatever happens to this process.
            try journal.bracket(.closing, bracket, row: record.row, side: plan.to, goal: record.goal ?? plan.to)
        case .repairing, nil: break
        }
    }

    /// Records what a plan about a bracket has done.
    func commitBracket(
        _ plan: Plan, _ record: Journal.Record, _ proof: OffloadProof, _ journal: borrowing Journal
    ) throws(ControllerError) {
        // Where no entry was moved, what is known of hardware is what was known before.
        let known = plan.changes.isEmpty ? record.proof : proof.status
        switch plan.bracket {
        case .opening(let bracket):
            try journal.bracket(
                .bracketed, bracket, row: record.row, side: plan.from, goal: plan.to, proof: known)
        case .closing:
            try journal.settle(row: record.row, side: plan.to, proof: known, endsBracket: true)
        case .repairing, nil: break
        }
    }

    /// Records that a plan about a bracket has failed, and everything is as before.
    func rollBackBracket(
        _ plan: Plan, _ record: Journal.Record, _ journal: borrowing Journal
    ) throws(ControllerError) {
        switch plan.bracket {
        case .opening:
            let known = plan.changes.isEmpty ? record.proof : .missing
            try journal.settle(row: record.row, side: plan.from, proof: known, endsBracket: true)
        case .closing:
            guard let bracket = record.bracket else { return }
            try journal.bracket(
                record.phase, bracket, row: record.row, side: record.guest.side, goal: record.goal ?? plan.to)
        case .repairing, nil: break
        }
    }

    // MARK: - Reading

    /// What the kernel shows of a guest's bracket; nil without one.
    mutating func view(_ record: Journal.Record, goal: Side? = nil) -> BracketView? {
        guard let bracket = record.bracket else { return nil }
        var state: CopyState?
        if let observation = try? Observation.read(record.guest, using: &socket),
            let specification = try? specification(record, observation)
        {
            state = try? Copies.state(specification, by: bracket.means, using: &socket)
        }
        return BracketView(
            bracket, goal: goal ?? record.goal ?? record.guest.side, state: state, now: Host.realTime)
    }

    /// What a guest's bracket copies.
    private mutating func specification(
        _ record: Journal.Record, _ observation: Observation
    ) throws(ControllerError) -> CopySpecification {
        let guest = record.guest
        var vlans: (standby: PortVLANs, primary: PortVLANs)?
        if observation.bridge?.bridge?.filtersVLANs == true {
            vlans = try ControllerError.reading("the VLANs of guest \(guest.id)'s ports") { () throws(NetlinkError) in
                (
                    try PortVLANs.read(port: guest.standby.index, using: &socket),
                    try PortVLANs.read(port: guest.primary.index, using: &socket)
                )
            }
        }
        return CopySpecification(
            source: guest.standby.index, target: guest.primary.index,
            matches: try Planner.matches(guest, vlans: vlans), groups: Planner.groups(observation),
            number: UInt32(truncatingIfNeeded: record.row), label: guest.id.text)
    }

    /// A change of a guest's copy; without a specification one that serves to remove it.
    func copyChange(
        _ record: Journal.Record, isOn: Bool, specification: CopySpecification? = nil
    ) -> CopyChange {
        let guest = record.guest
        let matches = guest.addresses.map { CopySpecification.Match(mac: $0.mac, tag: .any) }
        return CopyChange(
            specification: specification
                ?? CopySpecification(
                    source: guest.standby.index, target: guest.primary.index, matches: matches,
                    number: UInt32(truncatingIfNeeded: record.row), label: guest.id.text),
            bracket: record.bracket ?? Bracket.none, portName: guest.standby.name, targetName: guest.primary.name,
            isOn: isOn)
    }

    /// How a guest's copy can be had now, and what the operator should know of it.
    private mutating func footing(
        _ record: Journal.Record, in journal: borrowing Journal, _ observation: Observation
    ) throws(ControllerError) -> (Bracket, notes: [String]) {
        let port = record.guest.standby
        let footing = try ControllerError.reading("the filters of \(port.name)") { () throws(NetlinkError) in
            try Copies.footing(on: port.index, using: &socket)
        }
        // A clsact that was made for another guest's bracket on the same port goes with the last of them.
        let isShared = try journal.records().contains {
            $0.boot == journal.boot && $0.row != record.row && $0.guest.standby.index == port.index
                && $0.bracket?.ownsClsact == true
        }
        var notes: [String] = []
        if footing.foreignFilters > 0 {
            notes.append(
                "\(footing.foreignFilters) filters of others on \(port.name) come first: what they end is not copied")
        }
        if footing.means == .nftables {
            notes.append("\(port.name) has an ingress qdisc, which excludes a clsact: nftables copies")
        }
        let flags = [Side.standby, .primary].map { observation.ports[$0]?.bridgePort?.flags ?? [] }
        if observation.bridge?.bridge?.snoopsMulticast == true, flags[0].contains(.multicastFlood),
            !flags[1].contains(.multicastFlood)
        {
            notes.append(
                "\(record.guest.primary.name) has mcast_flood off: groups that nobody has joined reach the standby only"
            )
        }
        if footing.means == .nftables, !Planner.groups(observation).isEmpty {
            notes.append("broadcast or multicast is flooded to the standby only, and nftables does not copy it")
        }
        return (
            Bracket(
                openedAt: Host.realTime, means: footing.means,
                ownsClsact: footing.means == .clsact && (!footing.hasClsact || isShared)), notes
        )
    }

    /// Refuses while the guest's port sends too many frames: all of them would take the slow path.
    private mutating func requireRate(_ guest: GuestInterface, _ options: VerbOptions) throws(ControllerError) {
        guard options.bracketMaxRate > 0, let port = guest.port(of: guest.side), guest.side != .remote else { return }
        let pause: Int64 = 100_000_000
        var looks: [(time: Int64, frames: UInt64)] = []
        let clock = Stopwatch()
        for look in 0..<2 {
            if look > 0 { sleepNanoseconds(pause) }
            let counters = try ControllerError.reading("the counters of \(port.name)") { () throws(NetlinkError) in
                try PortCounters.read([port.index], using: &socket)
            }
            looks.append((clock.elapsed, counters.first??.txPackets ?? 0))
        }
        let nanoseconds = UInt64(max(1, looks[1].time - looks[0].time))
        let rate = (looks[1].frames &- looks[0].frames) * 1_000_000_000 / nanoseconds
        guard rate > options.bracketMaxRate else { return }
        throw ControllerError(
            .precondition,
            "\(port.name) sends \(rate) frames a second to guest \(guest.id), and a bracket is allowed up to "
                + "\(options.bracketMaxRate)",
            remedy: "wait until it is less, raise the limit, or use --strategy cut")
    }

    private static var realTime: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    // MARK: - Words

    /// What closes a bracket.
    static func closing(_ record: Journal.Record) -> String {
        let id = record.guest.id
        let goal = record.goal ?? record.guest.side
        return
            "\"fdbsteer switch \(id) --to \(goal.rawValue) --close\" when the guest is there, \"fdbsteer abort \(id)\" "
            + "to give it up"
    }

    /// Why another verb has to wait for a bracket; nil without one.
    static func bracketInTheWay(_ record: Journal.Record) -> ControllerError? {
        guard record.bracket != nil else { return nil }
        let id = record.guest.id
        let goal = record.goal ?? record.guest.side
        if record.phase == .bracketed {
            return ControllerError(
                .precondition,
                "a bracket of guest \(id) from \(record.guest.side.rawValue) to \(goal.rawValue) is open",
                remedy: closing(record))
        }
        return ControllerError(
            .precondition, "the \(record.phase.rawValue) of a bracket of guest \(id) did not end",
            remedy: "run \"fdbsteer abort \(id)\" first")
    }

    private static func unfinished(_ record: Journal.Record) -> ControllerError {
        ControllerError(
            .precondition, "an earlier \(record.phase.rawValue) of guest \(record.guest.id) did not end",
            remedy: "run \"fdbsteer abort \(record.guest.id)\" first")
    }

    private mutating func alreadyOpen(
        _ record: Journal.Record, goal: Side, clock: Stopwatch, options: VerbOptions
    ) -> Report {
        var plan = Plan(
            verb: .switch, guest: record.guest, from: record.guest.side, to: goal, steps: [],
            notes: ["a bracket is open already; it closes by \(Host.closing(record))"])
        plan.bracket = .repairing
        var report = Report(plan, clock: clock, options: options)
        report.bracket = view(record)
        return report
    }
}

extension Bracket {
    /// Stands for a bracket of which the journal knows nothing more.
    static let none = Bracket(openedAt: 0, means: .clsact, ownsClsact: false)
}

extension BracketView {
    /// For people.
    public var words: String {
        let frames = framesCopied.map { "\($0) frames copied" } ?? "NO COPY"
        let failed = copiesFailed.map { $0 > 0 ? ", \($0) could not be handed on" : "" } ?? ""
        return "\(isOpen ? "open" : "was open") for \(openNanoseconds / 1_000_000) ms, \(frames)\(failed)"
    }
}

extension Plan {
    /// The same plan with the end of a copy after its other steps.
    func ending(_ copy: CopyChange) -> Plan {
        var plan = self
        plan.steps.append(.copy(copy))
        return plan
    }
}
