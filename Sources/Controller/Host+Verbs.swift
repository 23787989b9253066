import FDB
import Netlink
import Switchdev

extension Host {
    /// Pins a guest's addresses where the guest is now, so that nothing but a redirection moves them.
    ///
    /// Learning is switched off first on the ports that serve this guest alone. The same call again succeeds.
    ///
    /// - Parameters:
    ///   - request: what to pin.
    ///   - dryRun: only plan.
    /// - Throws: ``ControllerError`` of codes `precondition` and `busy`; nothing was changed.
    public mutating func prepare(_ request: PreparationRequest, dryRun: Bool) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let links = try ControllerError.reading("the interfaces") { () throws(NetlinkError) in
            try Links.snapshot(using: &socket)
        }
        if let journal = try Journal(reading: folder), let record = try journal.record(request.id) {
            return try prepareAgain(request, record, journal, clock: clock)
        }
        let table: Table
        if let bridge = links[request.bridge], bridge.kind == "bridge" {
            table = try ControllerError.reading("the table of \(bridge.name)") { () throws(NetlinkError) in
                var table = try Table.snapshot(bridge: bridge.index, using: &socket)
                try table.confirm(request.addresses, using: &socket)
                return table
            }
        } else {
            table = Table(bridge: 0)
        }
        if dryRun {
            let journal = try Journal(reading: folder)
            let planner = try planner(
                for: request, records: journal?.records() ?? [])
            return planned(try planner.prepare(request, links: links, table: table), clock: clock, links: links)
        }
        try requirePrivilege()
        let journal = try Journal(folder: folder)
        let plan = try planner(for: request, records: try journal.records()).prepare(
            request, links: links, table: table)
        let record = try journal.begin(preparing: plan.guest)
        if plan.isEmpty {
            try journal.settle(row: record.row, side: plan.to)
            return finish(plan, clock: clock, proof: proof(plan, links: links))
        }
        return finish(execute(plan, record: record, journal: journal, clock: clock, proof: proof(plan, links: links)))
    }

    /// Redirects a guest's addresses to a side (strategy `cut`: one move, now).
    ///
    /// - Throws: ``ControllerError`` of codes `precondition` and `busy`; nothing was changed.
    public mutating func `switch`(_ id: GuestID, to side: Side, dryRun: Bool) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let journal = try openJournal(for: id)
        let record = try claim(id, in: journal, dryRun: dryRun)
        if record.phase == .preparing || record.phase == .releasing {
            throw ControllerError(
                .precondition,
                "an earlier \(record.phase == .preparing ? "prepare" : "release") of guest \(id) did not end",
                remedy: "run \"fdbsteer abort \(id)\" first")
        }
        if !dryRun { try requirePrivilege() }
        let observation = try Observation.read(record.guest, using: &socket)
        let plan = try Planner().move(record.guest, to: side, observation: observation)
        let links = Links(Array(observation.ports.values) + (observation.bridge.map { [$0] } ?? []))
        if dryRun { return planned(plan, clock: clock, links: links) }
        if plan.isEmpty {
            if record.guest.side != side || record.phase != .pinned { try journal.settle(row: record.row, side: side) }
            return finish(plan, clock: clock, proof: proof(plan, links: links))
        }
        return finish(execute(plan, record: record, journal: journal, clock: clock, proof: proof(plan, links: links)))
    }

    /// Gives a guest's entries back to the bridge: learned, on the side that they are on, with the ports' old settings.
    public mutating func release(_ id: GuestID, dryRun: Bool) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let journal = try openJournal(for: id)
        let record = try claim(id, in: journal, dryRun: dryRun, anyBoot: true)
        if !dryRun { try requirePrivilege() }
        var observation = Observation(bridge: nil, ports: [:], entries: [:])
        // Interface indexes of an earlier boot name other interfaces now.
        if record.boot == journal.boot { observation = try Observation.read(record.guest, using: &socket) }
        let plan = Planner().release(record.guest, observation: observation)
        let links = Links(Array(observation.ports.values))
        if dryRun { return planned(plan, clock: clock, links: links) }
        if plan.isEmpty {
            try journal.remove(row: record.row)
            var report = finish(plan, clock: clock, proof: .nothingToProve)
            report.outcome = .done
            return report
        }
        return finish(execute(plan, record: record, journal: journal, clock: clock, proof: proof(plan, links: links)))
    }

    /// Ends a redirection that a dead process left, on the side where the guest was; nothing when nothing was changed.
    public mutating func abort(_ id: GuestID, dryRun: Bool) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let journal = try openJournal(for: id)
        let record = try claim(id, in: journal, dryRun: dryRun)
        switch record.phase {
        case .pinned:
            let plan = Plan(
                verb: .abort, guest: record.guest, from: record.guest.side, to: record.guest.side, steps: [],
                notes: ["no redirection of \(id) is under way; nothing was changed"])
            return dryRun ? planned(plan, clock: clock, links: Links([])) : Report(plan, clock: clock)
        case .preparing:
            if !dryRun { journal.unlock(row: record.row) }
            return try release(id, dryRun: dryRun)
        case .switching, .releasing:
            if !dryRun { try requirePrivilege() }
            let observation = try Observation.read(record.guest, using: &socket)
            let plan = try Planner().move(
                record.guest, to: record.guest.side, observation: observation, verb: .abort)
            let links = Links(Array(observation.ports.values))
            if dryRun { return planned(plan, clock: clock, links: links) }
            if plan.isEmpty {
                try journal.settle(row: record.row, side: record.guest.side)
                var report = finish(plan, clock: clock, proof: proof(plan, links: links))
                report.outcome = .done
                return report
            }
            return finish(
                execute(plan, record: record, journal: journal, clock: clock, proof: proof(plan, links: links)))
        }
    }

    // MARK: - Shared

    /// Locks a guest for this process and reads its record, in this order: what another process did until it let go of
    /// the lock is seen. A dry run only reads.
    private func claim(
        _ id: GuestID, in journal: borrowing Journal, dryRun: Bool, anyBoot: Bool = false
    ) throws(ControllerError) -> Journal.Record {
        let record = try known(id, in: journal, anyBoot: anyBoot)
        if dryRun { return record }
        try journal.lock(record)
        return try known(id, in: journal, anyBoot: anyBoot)
    }

    private func planner(
        for request: PreparationRequest, records: [Journal.Record]
    ) throws(ControllerError) -> Planner {
        var planner = Planner()
        for record in records {
            for (_, port) in record.guest.ports where port.index != record.guest.uplink?.index {
                planner.otherGuests[port.index] = record.guest.id.text
            }
            guard record.guest.bridge.name == request.bridge else { continue }
            for address in record.guest.addresses { planner.owners[address] = record.guest.id.text }
        }
        return planner
    }

    /// `prepare` of a guest that is known: nothing to do when it is the same, refused when it is not.
    private func prepareAgain(
        _ request: PreparationRequest, _ record: Journal.Record, _ journal: borrowing Journal, clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let guest = record.guest
        guard record.phase == .pinned else {
            if journal.isLocked(record) {
                throw ControllerError(
                    .busy, "another redirection of guest \(guest.id) is running (\(record.phase.rawValue))",
                    remedy: "wait for it")
            }
            throw ControllerError(
                .precondition, "an earlier \(record.phase.rawValue) of guest \(guest.id) did not end",
                remedy: "run \"fdbsteer abort \(guest.id)\" first")
        }
        guard record.boot == journal.boot, guest.bridge.name == request.bridge, guest.primary.name == request.primary,
            guest.standby.name == request.standby, guest.uplink?.name == request.uplink,
            guest.addresses == request.addresses, request.side == nil || request.side == guest.side
        else {
            throw ControllerError(
                .precondition, "guest \(guest.id) is prepared already, but not like this",
                remedy: "\"fdbsteer status \(guest.id)\" shows how; release it first to change it")
        }
        let plan = Plan(
            verb: .prepare, guest: guest, from: guest.side, to: guest.side, steps: [],
            notes: ["prepared already; \"fdbsteer verify \(guest.id)\" compares it with the table"])
        return Report(plan, clock: clock)
    }

    /// The journal for a verb about a guest that must exist: not made when it is missing.
    private func openJournal(for id: GuestID) throws(ControllerError) -> Journal {
        guard folder.hasJournal else {
            throw ControllerError(
                .precondition, "guest \(id) is not known: there is no journal \(folder.stateFile)",
                remedy: "prepare the guest first, or name the right folder by --state or FDBSTEER_STATE")
        }
        return try Journal(folder: folder)
    }

    private func proof(_ plan: Plan, links: Links) -> OffloadProof {
        let ports = plan.guest.ports.filter { $0.side == plan.from || $0.side == plan.to }
        return .of(ports: ports.compactMap { links[$0.port.index] })
    }

    private func planned(_ plan: Plan, clock: Stopwatch, links: Links) -> Report {
        var report = Report(plan, clock: clock)
        report.outcome = .planned
        let guest = plan.guest
        report.messages = plan.messages { links[$0]?.name ?? guest.name(ofPort: $0) }
        return report
    }

    private func finish(_ plan: Plan, clock: Stopwatch, proof: OffloadProof) -> Report {
        var report = Report(plan, clock: clock)
        report.timings.totalNanoseconds = clock.elapsed
        report.proof = proof.text
        return report
    }

    private func finish(_ report: Report) -> Report {
        var report = report
        if let note = record(report) { report.notes.append(note) }
        return report
    }
}
