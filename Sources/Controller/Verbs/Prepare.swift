import Netlink
public import Policy
import Records
import Switchdev
import System

extension Host {
    /// Pins a guest's addresses where the guest is now, so that a late frame on another of its ports does not move them.
    ///
    /// Learning is switched off first on the ports that serve this guest alone. The same call again succeeds.
    ///
    /// - Parameters:
    ///   - request: what to pin.
    ///   - options: how.
    /// - Throws: ``ControllerError`` of codes `precondition` and `busy`; nothing was changed.
    public mutating func prepare(
        _ request: PreparationRequest, options: VerbOptions
    ) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        let links = try ControllerError.reading("the interfaces") { () throws(NetlinkError) in
            try Links.snapshot(using: &socket)
        }
        let request = try named(request, links: links)
        if let journal = try Journal(reading: folder), let record = try journal.record(request.id) {
            return try prepareAgain(request, record, journal, clock: clock, options: options)
        }
        let records = try Journal(reading: folder)?.records() ?? []
        var plan = try self.plan(request, links: links, records: records, options: options)
        if options.dryRun { return planned(plan, clock: clock, links: links, options: options) }
        try requirePrivilege()
        let journal = try Journal(folder: folder)
        // Others may have prepared a guest since.
        let now = try journal.records()
        if now != records { plan = try self.plan(request, links: links, records: now, options: options) }
        let record = try journal.begin(preparing: plan.guest)
        guard plan.isEmpty else {
            return finish(execute(plan, record: record, journal: journal, clock: clock, options: options))
        }
        // Static already, and only on software ports: an eswitch port's entry would have been renewed.
        try journal.settle(row: record.row, side: plan.to, proof: .nothingToProve)
        return finish(plan, clock: clock, proof: .nothingToProve, options: options)
    }

    /// Reads what the decision needs, and decides.
    private mutating func plan(
        _ request: PreparationRequest, links: Links, records: [GuestRecord], options: VerbOptions
    ) throws(ControllerError) -> Plan {
        var subject = Subject(request)
        let observation = survey(&subject, links: links, beside: records)
        let request = try request.replacing(resolved: subject.addresses)
        let legacy = try legacy(request, ports: observation.ports.dictionary, links: links, records: records)
        return try Planner().prepare(request, observation, legacy: legacy, waiving: options.waived)
    }

    /// The request with the names of netdevs.
    private func named(_ request: PreparationRequest, links: Links) throws(ControllerError) -> PreparationRequest {
        let names = PortName(links: links, pci: PCIFunctions()) { () throws(NetlinkError) in try Devlink.snapshot() }
        return try request.replacing(
            primary: names.netdev(request.primary, role: "primary", bridge: request.bridge),
            standby: names.netdev(request.standby, role: "standby", bridge: request.bridge),
            uplink: try request.uplink.map { uplink throws(ControllerError) in
                try names.netdev(uplink, role: "uplink", bridge: request.bridge)
            })
    }

    /// `prepare` of a guest that is known: nothing to do when it is the same, refused when it is not.
    private func prepareAgain(
        _ request: PreparationRequest, _ record: GuestRecord, _ journal: borrowing Journal, clock: Stopwatch,
        options: VerbOptions
    ) throws(ControllerError) -> Report {
        let guest = record.guest
        guard record.phase == .pinned else {
            if let error = Host.bracketInTheWay(record) { throw error }
            if journal.isLocked(record) {
                throw ControllerError(
                    .busy, "another redirection of guest \(guest.id) is running (\(record.phase.rawValue))",
                    remedy: "wait for it")
            }
            throw Host.unfinished(record)
        }
        guard record.boot == journal.boot, guest.bridge.name == request.bridge, guest.primary.name == request.primary,
            guest.standby.name == request.standby, guest.uplink?.name == request.uplink,
            guest.has(exactly: request.addresses), guest.nic?.pf.name == request.legacy?.pf,
            guest.nic?.vf == request.legacy?.vf, request.side == nil || request.side == guest.side,
            request.kind == nil || request.kind == guest.kind
        else {
            throw ControllerError(
                .precondition, "guest \(guest.id) is prepared already, but not like this",
                remedy: "\"fdbsteer status \(guest.id)\" shows how; release it first to change it")
        }
        let plan = Plan(
            verb: .prepare, guest: guest, from: guest.side, to: guest.side, steps: [],
            notes: ["prepared already; \"fdbsteer verify \(guest.id)\" compares it with the table"])
        var report = Report(plan, startedAt: clock.startedAt, options: options)
        report.proofStatus = record.proof
        return report
    }
}
