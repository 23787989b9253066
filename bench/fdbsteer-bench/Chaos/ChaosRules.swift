import Glibc
import JSON
import Lab

/// What must hold after each step. docs/chaos.md has the rules in words.
enum ChaosRules {
    /// Looks that are taken, 10 ms apart, before something is held to be wrong: what frames by the uplink have moved stays there for
    /// a second after the last of them (docs/evidence.md), and then the daemon acts.
    private static let looks = 150

    /// Checks everything.
    ///
    /// - Parameter isThorough: reads the tables and filters of others too.
    /// - Throws: ``ChaosViolation``, ``LabError``.
    static func check(_ world: ChaosWorld, isThorough: Bool) throws {
        try checkDaemon(world)
        var view = try ChaosView(world)
        for look in 0... {
            settle(view, world)
            let complaint = try complaint(view, world)
            guard let complaint else { break }
            if world.daemon == nil || look == looks {
                throw ChaosViolation(rule: complaint.rule, text: "\(complaint.text)\n\(daemonWords(world))")
            }
            usleep(10_000)
            view = try ChaosView(world)
        }
        try checkForeign(view, world, isThorough: isThorough)
        for guest in world.guests { try checkReachable(guest, view, world) }
    }

    static func daemonWords(_ world: ChaosWorld) -> String {
        world.daemon.map { "fdbsteerd's log:\n\($0.log.suffix(3000))" } ?? "no fdbsteerd runs"
    }

    /// The daemon lives, and its loop turns.
    private static func checkDaemon(_ world: ChaosWorld) throws {
        guard let daemon = world.daemon else { return }
        if daemon.hasEnded {
            let log = daemon.log
            let code = daemon.end(by: SIGKILL, within: 1) ?? -1
            world.daemon = nil
            throw ChaosViolation(
                rule: .daemon, text: "fdbsteerd ended by itself, exit code \(code): \(log.suffix(3000))")
        }
        for _ in 0..<looks {
            if daemon.answers("/healthz") { return }
            usleep(10_000)
        }
        throw ChaosViolation(
            rule: .daemon, text: "/healthz does not say 200 within 1.5 s: \(daemon.log.suffix(3000))")
    }

    /// The model learns from a record where a guest is of which it was in doubt.
    private static func settle(_ view: ChaosView, _ world: ChaosWorld) {
        for guest in world.guests {
            guard let known = view.guests[guest.id] else {
                // It was released, or its prepare undone, by a process that was killed.
                if guest.doubt == .untilPinned { (guest.doubt, guest.found) = (.none, nil) }
                continue
            }
            if guest.found == nil { guest.found = [:] }
            if guest.doubt == .untilPinned, known.phase == "pinned", !known.isRunning,
                let place = ChaosGuest.Place(rawValue: known.side)
            {
                guest.follow(to: place)
            }
            // Nobody saw that its primary was away: it is plugged again, and the guest takes it.
            if guest.hasLostPrimary, guest.doubt == .none, guest.primary.isUsable, known.side == "primary" {
                guest.follow(to: .primary)
            }
        }
    }

    // MARK: - Entries

    /// An entry is where the record says, or something says why not.
    private static func complaint(_ view: ChaosView, _ world: ChaosWorld) throws -> ChaosViolation? {
        for guest in world.guests {
            guard let known = view.guests[guest.id], !known.isRunning else { continue }
            if world.daemon != nil, !["pinned", "bracketed", "waiting"].contains(known.phase), !world.isFull {
                return ChaosViolation(rule: .entry, text: "\(guest.id) is still \(known.phase), and nobody is at it")
            }
            let entrySide = view.entrySide(known, guest)
            let wrong =
                guest.addresses.compactMap { wrongEntry($0, guest, on: entrySide, known, view) }
                + [wrongGate(guest, known, view), wrongNeighbour(guest, known, view)].compactMap { $0 }
            let side = ChaosGuest.Place(rawValue: entrySide) ?? .standby
            guard let first = wrong.first, view.reasons(known, guest, at: side).isEmpty else { continue }
            // While QEMU says that a migration is under way, entries stay where frames take them (docs/evidence.md).
            if world.daemon != nil, !world.isFull, guest.doubt != .untilSwitched {
                return ChaosViolation(rule: .entry, text: "\(guest.id): \(first)")
            }
            let verify = try world.fdbsteer(["verify", guest.id, "--json"])
            let problems = JSON(text: verify.output)?["problems"]?.elements ?? []
            if verify.exitCode == 0 || problems.isEmpty && verify.errors.isEmpty {
                return ChaosViolation(rule: .entry, text: "\(guest.id): \(first), and verify says: \(verify.output)")
            }
        }
        return nil
    }

    /// What is wrong with an entry of a guest; nil if it is as the record says.
    private static func wrongEntry(
        _ address: String, _ guest: ChaosGuest, on side: String, _ known: ChaosView.Guest, _ view: ChaosView
    ) -> String? {
        let entry = view.kernel.entry(address, on: guest.bridge.name)
        let right = view.kernel.port(known.ports[side])
        if let entry, entry.port == right?.name, entry.state == "static" { return nil }
        return "\(address) should be on \(side) (\(right?.name ?? "which is in no bridge")), the table has "
            + (entry?.words ?? "no entry")
    }

    /// What is wrong with a guest's gate; nil if its port is locked while the guest is elsewhere, and only then.
    private static func wrongGate(_ guest: ChaosGuest, _ known: ChaosView.Guest, _ view: ChaosView) -> String? {
        // In another bridge it is a port of others'.
        guard guest.hasGate, let port = view.kernel.ports[guest.standby.name], port.bridge == guest.bridge.name else {
            return nil
        }
        let isClosed = port.flags["locked"] == "true"
        return isClosed == (known.side == "remote")
            ? nil : "its gate is \(isClosed ? "closed" : "open") on \(known.side)"
    }

    /// What is wrong with a guest's neighbour; nil if it is there while the guest is here, and only then.
    private static func wrongNeighbour(_ guest: ChaosGuest, _ known: ChaosView.Guest, _ view: ChaosView) -> String? {
        guard let address = guest.neighbour else { return nil }
        let found = view.kernel.neighbours["\(guest.bridge.name) \(address)"]
        let right = known.side == "remote" ? nil : guest.addresses[0]
        return found == right ? nil : "the neighbour \(address) on \(known.side) is \(found ?? "missing")"
    }

    // MARK: - What is others'

    private static func checkForeign(_ view: ChaosView, _ world: ChaosWorld, isThorough: Bool) throws {
        for port in world.ports where port.exists && port.isHere && port.bridge != nil {
            guard let found = view.kernel.ports[port.name] else {
                throw ChaosViolation(
                    rule: .foreign, text: "\(port.name) is no port of \(port.bridge?.name ?? "") any more")
            }
            let isOurs = world.guests.contains {
                $0.own.contains { $0 === port } && view.guests[$0.id] != nil
            }
            let isGated = isOurs && world.guests.contains { $0.hasGate && $0.standby === port }
            for (flag, value) in port.flags where flag != "learning" || !isOurs {
                // An entry's place and the gate's are one judgement.
                if isGated, flag == "locked" { continue }
                guard found.flags[flag] == value else {
                    throw ChaosViolation(
                        rule: isOurs || flag != "learning" ? .foreign : .release,
                        text: "\(flag) of \(port.name) is \(found.flags[flag] ?? "unknown"), others left it \(value)")
                }
            }
            if !isOurs, let backup = found.flags["backup_port"] {
                throw ChaosViolation(
                    rule: .release, text: "backup_port of \(port.name) is \(backup), and no guest has it")
            }
        }
        for entry in world.foreignEntries {
            guard let port = world.ports.first(where: { $0.home == entry.port }) else { continue }
            let found = view.kernel.entries.filter { $0.mac == entry.mac }
            if !found.contains(where: { $0.port == port.name && $0.state == entry.state && $0.flags == entry.flags }) {
                throw ChaosViolation(
                    rule: .foreign,
                    text:
                        "\(entry.mac) was \(entry.state) on \(port.name), now: \(found.map(\.words).joined(separator: ", "))"
                )
            }
        }
        guard isThorough else { return }
        for port in world.ports where port.exists && port.isHere {
            guard let filters = port.foreignFilters else { continue }
            let now = try world.filters(of: port)
            if now != filters {
                throw ChaosViolation(rule: .foreign, text: "filters of \(port.name): were\n\(filters)are\n\(now)")
            }
        }
        if let tables = world.foreignTables, try world.readForeignTables() != tables {
            throw ChaosViolation(rule: .foreign, text: "tables of others: \(try world.readForeignTables())")
        }
    }

    // MARK: - Frames

    /// A guest that sends and receives is reachable within a second, unless something says why not.
    private static func checkReachable(_ guest: ChaosGuest, _ view: ChaosView, _ world: ChaosWorld) throws {
        let isFollowedHere = guest.isFollowed && guest.place == .remote && world.daemon != nil
        guard guest.doubt == .none, !isFollowedHere, !world.isFull else { return }
        let place = guest.port(guest.place)
        let source = guest.place == .remote ? world.neighbours[guest.bridge.number] : guest.uplink
        guard view.works(place, on: guest.bridge), view.works(source, on: guest.bridge) else { return }
        // A bridge cannot learn an unprepared guest where others have switched learning off.
        guard view.guests[guest.id] != nil || view.kernel.ports[place.name]?.flags["learning"] == "true" else { return }
        for address in guest.addresses where !ChaosFrames.arrives(address, from: source, at: place) {
            let now = try ChaosView(world)
            guard now.works(place, on: guest.bridge), now.works(source, on: guest.bridge) else { return }
            if let known = now.guests[guest.id] {
                if !now.reasons(known, guest, at: guest.place).isEmpty { return }
                // Without the daemon nobody repairs; then verify says it.
                if world.daemon == nil, try world.fdbsteer(["verify", guest.id]).exitCode != 0 { return }
            }
            throw ChaosViolation(
                rule: .reachable,
                text:
                    "\(guest.id) sends by \(place.name) (\(guest.place)), and no frame to \(address) arrives there; the table has "
                    + (now.kernel.entry(address, on: guest.bridge.name)?.words ?? "no entry")
                    + "; the record: \(now.guests[guest.id].map { "\($0.phase) on \($0.side)" } ?? "none")\n"
                    + daemonWords(world))
        }
    }

    // MARK: - Giving back

    /// After `release` a guest's entries are no longer pinned, unless somebody else had pinned them.
    static func checkReleased(_ guest: ChaosGuest, _ world: ChaosWorld) throws {
        let view = try ChaosView(world)
        if view.guests[guest.id] != nil {
            throw ChaosViolation(rule: .release, text: "release \(guest.id): exit code 0, and status still has it")
        }
        for address in guest.addresses where !guest.lost.contains(address) {
            guard let entry = view.kernel.entry(address, on: guest.bridge.name) else { continue }
            let found = guest.found?[address]
            let learns = view.kernel.ports[entry.port]?.flags["learning"] == "true"
            let isStaticAsFound = found?.state == "static" || !learns
            // One that led to the guest on this host has no reason on the uplink, once the guest has gone there.
            let isGone = entry.port == guest.uplink.name && found?.port != entry.port
            let hasToBeStatic = found?.state == "static" && !isGone
            if entry.flags.contains("sticky") && !(found?.flags.contains("sticky") ?? false)
                || entry.state == "static" && !isStaticAsFound || hasToBeStatic && entry.state != "static"
                || entry.flags.contains("extern_learn") != (found?.flags.contains("extern_learn") ?? false)
            {
                throw ChaosViolation(
                    rule: .release,
                    text: "after release of \(guest.id): \(entry.words); found was \(found?.words ?? "no entry")")
            }
        }
    }

    /// After the end of an episode nothing is left: everything is given back, and the folder has no guest.
    static func checkClosed(_ world: ChaosWorld) throws {
        ChaosFolders.empty(world)
        for guest in world.guests where guest.doubt == .none { guest.doubt = .untilPinned }
        try ChaosVerbs.run(.reconcile, 0, world)
        for guest in world.guests where try ChaosView(world).guests[guest.id] != nil {
            try ChaosVerbs.run(.release, guest.number, world)
        }
        if world.daemon != nil { try ChaosDaemons.end(world) }
        try ChaosVerbs.run(.reconcile, 0, world)
        let view = try ChaosView(world)
        settle(view, world)
        try checkForeign(view, world, isThorough: true)
        for guest in world.guests { try checkReachable(guest, view, world) }
        let left = try Command.run([
            "find", world.state, "(", "-path", "*/guests/*", "-o", "-path", "*/addresses/*", "-o",
            "-path", "*/ports/*", "-o", "-path", "*/waits/*", ")", "!", "-type", "d",
        ])
        if !left.output.isEmpty { throw ChaosViolation(rule: .leftover, text: "the state folder has \(left.output)") }
        if !view.kernel.neighbours.isEmpty {
            throw ChaosViolation(rule: .leftover, text: "neighbours: \(view.kernel.neighbours)")
        }
        if world.foreignTables != nil {
            let tables = try Command.run(["nft", "list", "tables"]).output
            if tables.contains("fdbsteer") { throw ChaosViolation(rule: .leftover, text: "nftables: \(tables)") }
        }
    }
}
