import FDB
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
        var plan = try self.plan(request, links: links, records: records)
        try Host.refuse(plan, waiving: options.waived)
        if options.dryRun { return planned(plan, clock: clock, links: links, options: options) }
        try requirePrivilege()
        let journal = try Journal(folder: folder)
        // Others may have prepared a guest since.
        let now = try journal.records()
        if now != records { plan = try self.plan(request, links: links, records: now) }
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
        _ request: PreparationRequest, links: Links, records: [GuestRecord]
    ) throws(ControllerError) -> Plan {
        var planner = Planner(beside: records, on: request.bridge)
        let bridge = try planner.bridge(request.bridge, links: links)
        let ports = try planner.ports(of: request, bridge: bridge, links: links)
        var vlans: [Side: PortVLANs] = [:]
        let hasSwitch = ports.values.contains(where: \.isEswitchPort)
        for (side, port) in ports where bridge.bridge?.filtersVLANs == true || hasSwitch {
            vlans[side] = try ControllerError.reading("the VLANs of \(port.name)") { () throws(NetlinkError) in
                try PortVLANs.read(port: port.index, using: &socket)
            }
        }
        for port in ports.values where port.isEswitchPort { planner.drivers[port.index] = Driver(interface: port.name) }
        let request = try request.replacing(
            addresses: planner.resolve(request.addresses, bridge: bridge, ports: ports, vlans: vlans))
        let table = try ControllerError.reading("the table of \(bridge.name)") { () throws(NetlinkError) in
            // Who else lives behind the guest's own ports; what lives elsewhere does not matter.
            let own = Set([ports[.primary], ports[.standby]].compactMap { $0?.index }).sorted()
            var table = try Table.snapshot(bridge: bridge.index, ports: own, using: &socket)
            try table.confirm(request.addresses, using: &socket)
            return table
        }
        let legacy = try legacy(request, ports: ports, links: links, records: records)
        var plan = try planner.prepare(
            request, bridge: bridge, ports: ports, links: links, table: table, legacy: legacy)
        plan.findings = findings(
            request, bridge: bridge, ports: ports, links: links, table: table, vlans: vlans, planner: planner)
        return plan
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
