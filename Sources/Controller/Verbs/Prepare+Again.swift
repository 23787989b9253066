import FDB
import Netlink
import Policy
import Records
import Switchdev
import System

/// `prepare` of a guest that is known. What the record says is believed after a look at the kernel.
extension Prepare {
    /// Says "already" where everything is as the record says, puts back what others have changed, and prepares anew what was made
    /// anew under the same name.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` that names what the caller wants otherwise than it is recorded.
    func again(
        _ request: PreparationRequest, _ record: GuestRecord, _ journal: Journal, links: Links, on host: inout Host,
        since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let observation = try host.kernel.observe(record.guest)
        let record = record.named(by: observation)
        let guest = record.guest
        let losses = losses(guest, observation)
        let isLost = replacesLost && !losses.isEmpty
        if !isLost || record.phase != .bracketed { try requireRest(record, journal) }
        var wishes = isLost ? [] : wishes(request, guest, links: links)
        // What is prepared anew is where, and what, the caller says.
        if losses.isEmpty {
            if let side = request.side, side != guest.side {
                wishes.append("its side is \(guest.side.rawValue), not \(side.rawValue)")
            }
            wishes += try ownWishes(request, guest) + addressWishes(request, guest, journal)
        }
        guard wishes.isEmpty else {
            throw ControllerError(
                .precondition,
                "guest \(guest.id) is prepared already, but not like this: \(wishes.joined(separator: "; "))",
                remedy: request.side == nil || request.side == guest.side
                    ? "release it first to change that"
                    : "\"fdbsteer switch\" moves it; what else differs needs a release first")
        }
        if !losses.isEmpty {
            return try replace(record, losses, by: request, journal, links: links, on: &host, since: clock)
        }
        switch Drift(record, observation) {
        case .entries, .settings, .astray, .neighbours:
            return try putBack(record, Claimed(record, observation), journal, on: &host, since: clock)
        default: break
        }
        var notes = ["prepared already, and the table is as recorded"]
        if !options.dryRun, guest.needsTable {
            let claim = try journal.claim(guest.id)
            if try host.kernel.restoreGuard(of: claim.record.guest) {
                notes.append("its addresses were not guarded any more, and are again")
            }
        }
        let problems = Preflight(Subject(guest), observation).judge(by: Rule.ofIntent).problems.map(\.words)
        let plan = Plan(
            verb: .prepare, guest: guest, from: guest.side, to: guest.side, steps: [],
            notes: notes + problems)
        var report = Report(plan, startedAt: clock.startedAt, options: options)
        report.proofStatus = record.proof
        return report
    }

    private func requireRest(_ record: GuestRecord, _ journal: Journal) throws(ControllerError) {
        if record.phase == .pinned { return }
        if let error = record.bracketInTheWay { throw error }
        if journal.isLocked(record) {
            throw ControllerError(
                .busy, "another redirection of guest \(record.guest.id) is running (\(record.phase.rawValue))",
                remedy: "wait for it")
        }
        throw record.unfinished
    }

    /// What a request wants otherwise than it is recorded, in words. Where the guest is now is no difference.
    ///
    /// - Parameter request: with the names of netdevs (``named(_:)``).
    func differences(
        _ request: PreparationRequest, from guest: GuestInterface, _ journal: Journal, links: Links
    ) throws(ControllerError) -> [String] {
        try wishes(request, guest, links: links) + ownWishes(request, guest) + addressWishes(request, guest, journal)
    }

    /// What the caller wants otherwise than it is recorded, field by field, in words.
    private func wishes(_ request: PreparationRequest, _ guest: GuestInterface, links: Links) -> [String] {
        var wishes: [String] = []
        func compare(_ field: String, _ known: String?, _ wanted: String?, _ isSame: Bool) {
            if !isSame {
                wishes.append(
                    "its \(field) \(field == "addresses" ? "are" : "is") \(known ?? "none"), not \(wanted ?? "none")")
            }
        }
        func compare(_ field: String, _ known: PortIdentity?, _ wanted: String?, isThere: Bool) {
            // What is gone is no wish: it is replaced by what is wanted.
            if known != nil, wanted != nil, !isThere { return }
            compare(field, known?.name, wanted, known?.index == wanted.flatMap { links[$0]?.index })
        }
        func isThere(_ side: Side) -> Bool {
            guest.port(of: side).flatMap { links[$0.index] }?.master == guest.bridge.index
        }
        compare("bridge", guest.bridge, request.bridge, isThere: links[guest.bridge.index] != nil)
        compare("primary", guest.primary, request.primary, isThere: isThere(.primary))
        compare(
            guest.primary == nil ? "port" : "standby", guest.standby, request.standby, isThere: isThere(guest.arrival))
        compare("uplink", guest.uplink, request.uplink, isThere: isThere(.remote))
        compare("addresses", guest.declared.words, request.addresses.words, guest.declares(exactly: request.addresses))
        compare("PF", guest.nic?.pf, request.legacy?.pf, isThere: true)
        compare(
            "VF", guest.nic.map { "\($0.vf)" }, request.legacy.map { "\($0.vf)" }, guest.nic?.vf == request.legacy?.vf)
        let devices = guest.neighbourInterfaces
        let isLost = devices.contains { device in links[device.index] == nil }
        compare(
            "neighbours' interface", devices.isEmpty ? nil : devices.map(\.name).joined(separator: ","),
            request.neighbours.joined(separator: ","),
            request.neighbours.isEmpty || isLost
                || Set(request.neighbours.map { links[$0]?.index }) == Set(devices.map { Optional($0.index) }))
        return wishes
    }

    /// What the caller wants otherwise of the guest itself, wherever it is.
    private func ownWishes(_ request: PreparationRequest, _ guest: GuestInterface) -> [String] {
        var wishes: [String] = []
        if request.isGated != guest.isGated {
            wishes.append(guest.isGated ? "it has a gate, and is to have none" : "it has no gate")
        }
        if let kind = request.kind, kind != guest.kind {
            wishes.append("its kind is \(guest.kind.rawValue), not \(kind.rawValue)")
        }
        if let replay = request.replay, replay != guest.replay {
            wishes.append("its replay is \(guest.replay?.rawValue ?? "as configured"), not \(replay.rawValue)")
        }
        return wishes
    }

    /// The same of the guest's IP addresses.
    private func addressWishes(
        _ request: PreparationRequest, _ guest: GuestInterface, _ journal: Journal
    ) throws(ControllerError) -> [String] {
        let ips = try journal.ips(of: guest.id)
        guard !request.ips.isEmpty, request.ips.sorted(by: { $0.ip < $1.ip }) != ips else { return [] }
        let (known, wanted) = (ips.map(\.description), request.ips.map(\.description))
        return [
            "its IP addresses are \(ips.isEmpty ? "none" : known.joined(separator: ", ")), not "
                + wanted.joined(separator: ", ")
        ]
    }

    /// What was recorded and does not hold any more, in words: another interface, or another VLAN, has taken its place.
    private func losses(_ guest: GuestInterface, _ observation: Observation) -> [String] {
        guard observation.bridge != nil else {
            return ["bridge \(guest.bridge.name) (ifindex \(guest.bridge.index)) no longer exists"]
        }
        let preflight = Preflight(Subject(guest), observation)
        var losses: [String] = []
        for (side, port) in guest.ports where observation.ports[side]?.master != guest.bridge.index {
            losses.append(
                "\(port.name) (\(side.rawValue), ifindex \(port.index)) "
                    + (observation.ports[side] == nil
                        ? "no longer exists" : "is no port of \(guest.bridge.name) any more"))
        }
        for interface in guest.neighbourInterfaces
        where observation.neighbourhood?.links.contains(where: { $0.index == interface.index }) != true {
            losses.append("\(interface.name) (neighbours, ifindex \(interface.index)) no longer exists")
        }
        return losses + preflight.judge(by: [VLANRules.pvidChanged]).problems.map(\.words)
    }

    /// Releases a guest, and prepares it with what has taken the place of what it had.
    private func replace(
        _ record: GuestRecord, _ losses: [String], by request: PreparationRequest, _ journal: Journal, links: Links,
        on host: inout Host, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        let guest = record.guest
        var request = try request.replacing(
            side: request.side ?? request.kept(guest.side, of: guest),
            kind: request.kind ?? (request.primary == nil ? nil : guest.kind),
            ips: request.ips.isEmpty ? journal.ips(of: guest.id) : request.ips,
            neighbours: request.neighbours.isEmpty ? guest.neighbourInterfaces.map(\.name) : request.neighbours)
        request.replay = request.replay ?? guest.replay
        // What is refused here has changed nothing.
        let (plan, _) = try plan(request, links: links, beside: journal, insteadOf: guest, on: &host)
        let note = "prepared anew: \(losses.joined(separator: "; "))"
        if options.dryRun {
            let seen = Observation(bridge: nil, ports: BySide(), entries: [:], foreignPorts: links.all)
            var report = Report(planned: plan, startedAt: clock.startedAt, seen, options: options)
            report.notes.insert("it would be released first, and \(note)", at: 0)
            return report
        }
        let released = try Release(options: options).run(guest.id, on: &host)
        guard released.exitCode == 0 else { return released }
        do throws(ControllerError) {
            var report = try pin(
                request, links: host.kernel.links(), beside: journal, on: &host, since: clock)
            report.notes.insert(note, at: 0)
            return report
        } catch {
            throw ControllerError(
                .rolledBack,
                "guest \(guest.id) was released, because \(losses.joined(separator: "; ")), and then not prepared: "
                    + error.message, remedy: error.remedy)
        }
    }

    /// Brings entries and settings to what the record says.
    private func putBack(
        _ record: GuestRecord, _ claimed: Claimed?, _ journal: Journal, on host: inout Host, since clock: Stopwatch
    ) throws(ControllerError) -> Report {
        if options.dryRun {
            let claim = try journal.claim(record.guest.id, onlyReads: true)
            return try Abort(options: options).putBack(
                claim, for: .reconcile, sparing: claimed, on: &host.kernel, since: clock)
        }
        let claim = try journal.claim(record.guest.id)
        try requireRest(claim.record, journal)
        var report = try Abort(options: options).putBack(
            claim, for: .reconcile, sparing: claimed, on: &host.kernel, since: clock)
        report.verb = .prepare
        if report.outcome != .already {
            report.notes.insert("prepared already; what others had changed since is put back", at: 0)
        }
        if let words = claim.renaming { report.notes.append(words) }
        return host.book(report)
    }
}

extension PreparationRequest {
    /// The side of a guest that is known, where the guest that this asks for has such a side: one with two ports may be to have one.
    func kept(_ side: Side, of guest: GuestInterface) -> Side? {
        side == .remote || (primary == nil) == (guest.primary == nil) ? side : nil
    }
}

extension [Address] {
    fileprivate var words: String {
        prefix(4).map(\.description).joined(separator: " ") + (count > 4 ? " and \(count - 4) more" : "")
    }
}
