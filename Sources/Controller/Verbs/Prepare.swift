import FDB
import Netlink
package import Policy
import Records
import Switchdev
import System

/// Pins a guest's addresses where the guest is now, so that a late frame on another of its ports does not move them.
///
/// Learning is switched off first on the ports that serve this guest alone. The same call again succeeds.
package struct Prepare {
    let request: PreparationRequest
    let options: VerbOptions
    /// Of a guest whose bridge or port was made anew nothing holds that its record says, nor an open bracket.
    let replacesLost: Bool

    package init(
        _ request: PreparationRequest, options: VerbOptions = VerbOptions(), replacesLost: Bool = false
    ) {
        self.request = request
        self.options = options
        self.replacesLost = replacesLost
    }

    /// - Throws: ``ControllerError`` of codes `precondition` and `busy`; nothing was changed.
    package func run(on host: inout Host) throws(ControllerError) -> Report {
        let clock = host.clock
        let links = try host.kernel.links()
        let request = try named(links)
        let reading = try Journal(reading: host.folder)
        guard let reading, let record = try reading.record(request.id) else {
            return try pin(request, links: links, beside: reading, on: &host, since: clock)
        }
        if let error = reading.refusal(of: record, .void) { throw error }
        guard let words = reading.place(of: record).words else {
            return try again(request, record, reading, links: links, on: &host, since: clock)
        }
        var report = try pin(request, links: links, beside: reading, insteadOf: record, on: &host, since: clock)
        report.notes.insert("a guest of this name \(words): its record is replaced", at: 0)
        return report
    }

    /// Makes a record, and pins.
    ///
    /// - Parameters:
    ///   - void: a record of the name that the kernel has nothing of any more; it is forgotten.
    ///   - earlier: what the guest's record said that this one replaces.
    func pin(
        _ request: PreparationRequest, links: Links, beside reading: Journal?, insteadOf void: GuestRecord? = nil,
        on host: inout Host, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        var seen = survey(request, links: links, beside: reading, on: &host)
        var evicted: [String] = []
        if !options.dryRun, let reading, let squatters = seen.observation.neighbours?.squatters, !squatters.isEmpty {
            evicted = try evict(squatters, for: request.id, in: reading, on: &host)
            seen = survey(request, links: links, beside: reading, on: &host)
        }
        var (plan, neighbours) = try decide(request, seen, links: links, beside: reading, on: &host)
        if options.dryRun {
            let seen = Observation(bridge: nil, ports: BySide(), entries: [:], foreignPorts: links.all)
            return Report(planned: plan, startedAt: clock.startedAt, seen, options: options)
        }
        try host.kernel.requirePrivilege()
        let prepared: Claim
        do throws(ControllerError) {
            let journal = try Journal(folder: host.folder)
            if let void, let claim = try journal.claim(request.id, row: void.row, patience: Journal.lockPatience) {
                try claim.write(.removed)
            }
            prepared = try journal.claim(
                preparing: request.id, given: request.addresses, ips: request.ips,
                found: { plan.found },
                neighbours: { plan.foundNeighbours }
            ) { () throws(ControllerError) in
                // Others may have prepared a guest since, or released this one and given its ports their settings back.
                let guest = plan.guest
                let ports = guest.ports.map(\.port.index)
                let now = try journal.neighbours(
                    of: request.id, ports: ports, addresses: guest.addresses, bridge: guest.bridge.index)
                let fresh = try host.kernel.observe(guest).ports
                let isSame = guest.ports.allSatisfy { side, port in
                    fresh[side]?.bridgePort == links[port.index]?.bridgePort
                        && fresh[side]?.master == links[port.index]?.master
                }
                if now != neighbours || request.legacy != nil || !isSame {
                    (plan, neighbours) = try self.plan(
                        request, links: host.kernel.links(), beside: journal, on: &host)
                }
                try requireFree(plan.guest.neighbours ?? [], of: request.id, in: journal)
                return try located(plan.guest, on: &host.kernel)
            }
        } catch {
            throw error.beforeAnything
        }
        guard plan.isEmpty else {
            var execution = Execution(plan, options: options, clock: clock)
            var report = execution.run(under: prepared, on: &host.kernel)
            report.notes += evicted
            guard report.outcome == .rolledBack else { return host.book(report) }
            if let refusal = host.kernel.lockRefusal.take() {
                return try differently(request, evicted, on: &host, since: clock) {
                    $0.gate = .table
                    return "its gate is the nftables table of \($0.bridge), because a port takes no lock: \(refusal)"
                }
            }
            guard let refusal = host.kernel.guardRefusal.take() else { return host.book(report) }
            return try differently(request, evicted, on: &host, since: clock) {
                $0.isGuarded = false
                return "any port that learns can take these addresses by frames: \(refusal)"
            }
        }
        // Static already, and only on software ports: an eswitch port's entry would have been renewed.
        let proof = OffloadProof.nothingToProve
        try prepared.write(plan.books.commit, shown: proof.status)
        var report = Report(
            unchanged: plan, proof, startedAt: clock.startedAt, after: clock.elapsed, options: options)
        report.notes += evicted
        return host.book(report)
    }

    /// Takes addresses away from guests that have them because they asked for them: whom an operator names comes first.
    ///
    /// - Returns: what was taken from whom, in words.
    private func evict(
        _ squatters: [Address: String], for id: GuestID, in journal: Journal, on host: inout Host
    ) throws(ControllerError) -> [String] {
        try host.kernel.requirePrivilege()
        var words: [String] = []
        for (name, addresses) in Dictionary(grouping: squatters.keys, by: { squatters[$0] ?? "" }) {
            let claim = try journal.claim(GuestID(name))
            let addresses = addresses.filter(claim.record.guest.adopted.contains).sorted()
            try FollowFilter.giveBack(addresses, claim, on: &host.kernel)
            let list = addresses.map(\.description).joined(separator: ", ")
            words.append("\(list): taken from guest \(name), which had it by asking for it")
            host.events.append(
                .condition, guest: name, at: Stopwatch.realTime,
                "\(list) is given up: guest \(id) was prepared with it")
        }
        return words
    }

    /// Prepares a guest by other means, after an attempt was rolled back because this kernel, or a driver, cannot do as was asked.
    ///
    /// - Parameter change: changes the request, and says what follows from that.
    private func differently(
        _ request: PreparationRequest, _ evicted: [String], on host: inout Host, since clock: Stopwatch,
        _ change: (inout PreparationRequest) -> String
    ) throws(ControllerError) -> Report {
        var request = request
        let note = change(&request)
        let reading = try Journal(reading: host.folder)
        var report = try pin(request, links: host.kernel.links(), beside: reading, on: &host, since: clock)
        report.notes += evicted + [note]
        return report
    }

    /// The guest with its ports' places in hardware.
    private func located(
        _ guest: GuestInterface, on kernel: inout Kernel
    ) throws(ControllerError) -> GuestInterface {
        guard guest.eswitchPort != nil else { return guest }
        let devlink = try kernel.devlink()
        func locate(_ port: inout PortIdentity) { port.devlink = devlink[interface: port.index]?.path }
        var located = guest
        locate(&located.standby)
        if var primary = guest.primary {
            locate(&primary)
            located.primary = primary
        }
        if var uplink = guest.uplink {
            locate(&uplink)
            located.uplink = uplink
        }
        return located
    }

    /// Reads what the decision needs.
    private func survey(
        _ request: PreparationRequest, links: Links, beside journal: Journal?, on host: inout Host
    ) -> (subject: Subject, observation: Observation) {
        var subject = Subject(request)
        let observation = Survey.read(&subject, links: links, beside: .success(journal), on: &host.kernel)
        return (subject, observation)
    }

    /// Reads what the decision needs, and decides.
    ///
    /// - Parameter old: the guest as it was prepared before, whose entries and filters are to be given back first.
    func plan(
        _ request: PreparationRequest, links: Links, beside journal: Journal?, insteadOf old: GuestInterface? = nil,
        on host: inout Host
    ) throws(ControllerError) -> (Plan, Neighbours?) {
        var seen = survey(request, links: links, beside: journal, on: &host)
        if let old {
            let others = seen.subject.addresses.map { seen.observation.entry($0) }.map { entry in
                entry.flatMap { old.side(ofPort: $0.port) == nil ? $0 : nil }
            }
            seen.observation.entries = EntrySet(others)
        }
        return try decide(request, seen, links: links, beside: journal, on: &host)
    }

    private func decide(
        _ request: PreparationRequest, _ seen: (subject: Subject, observation: Observation), links: Links,
        beside journal: Journal?, on host: inout Host
    ) throws(ControllerError) -> (Plan, Neighbours?) {
        let request = try request.replacing(resolved: seen.subject.addresses)
        let records = request.legacy == nil ? [] : try journal?.records().filter { $0.guest.id != request.id } ?? []
        let legacy = try legacy(request, seen.observation.ports[.primary], links: links, records: records, on: &host)
        var observation = seen.observation
        let neighbours = try neighbours(request, &observation, links: links, beside: journal, on: &host)
        func decided() throws(ControllerError) -> Plan {
            try Planner().prepare(
                request, observation, legacy: legacy, neighbours: neighbours, waiving: options.waived)
        }
        var plan = try decided()
        if plan.guest.isGatedByTable {
            // What nftables can do is asked only where it is needed.
            Survey.tryPacketFilters(&observation, on: &host.kernel)
            plan = try decided()
        }
        return (plan, observation.neighbours)
    }

    /// The request with the names of netdevs.
    func named(_ links: Links) throws(ControllerError) -> PreparationRequest {
        let names = PortName(links: links, pci: PCIFunctions()) { () throws(NetlinkError) in try Devlink.snapshot() }
        return try request.replacing(
            bridge: links[request.bridge]?.name,
            primary: try request.primary.map { primary throws(ControllerError) in
                try names.netdev(primary, role: "primary", bridge: request.bridge)
            },
            standby: names.netdev(
                request.standby, role: request.primary == nil ? "port" : "standby", bridge: request.bridge),
            uplink: try request.uplink.map { uplink throws(ControllerError) in
                try names.netdev(uplink, role: "uplink", bridge: request.bridge)
            })
    }

    /// Reads what `prepare` needs of a NIC in legacy mode; nil for a guest without one.
    ///
    /// - Parameter uplink: the port of the bridge that goes to the NIC.
    private func legacy(
        _ request: PreparationRequest, _ uplink: Link?, links: Links, records: [GuestRecord], on host: inout Host
    ) throws(ControllerError) -> LegacyPreparation? {
        guard let legacy = request.legacy, let address = request.addresses.first else { return nil }
        let (pf, device) = try NICLookup.physicalFunction(legacy.pf, links: links)
        let devlink = try host.kernel.devlink()
        let filters = try ControllerError.reading("the filters of \(pf.name)") { () throws(NetlinkError) in
            try NICFilters.read(
                address.mac, vf: legacy.vf, of: pf.index, uplink: uplink?.index ?? pf.index, using: &host.kernel.socket)
        }
        let nic = NICIdentity(interface: pf.name, device: device, devlink: devlink)
        return try LegacyCheck(
            request: request, legacy: legacy, links: links, devlink: devlink, filters: filters,
            verdict: StoredVerdict.read(of: nic, in: host.folder), records: records
        ).preparation()
    }
}
