import Netlink
package import Policy
package import QMP
import Records
import Switchdev
import System

/// What is done with guests whose migration is followed: the verbs, on the journal that is open already.
extension Keeper {
    /// The record of a guest that is watched.
    package func record(_ row: Int64) -> GuestRecord? { watch.records[row] }

    /// Redirects a guest.
    ///
    /// - Parameters:
    ///   - row: the guest.
    ///   - side: where to; an open bracket is closed there.
    ///   - reason: for the history.
    ///   - arrived: called as soon as frames reach the guest there, before anything is read again, recorded or told.
    /// - Throws: ``ControllerError``; of codes `precondition` and `busy` when nothing was changed.
    package mutating func move(
        _ row: Int64, to side: Side, reason: String, arrived: (() -> Void)? = nil
    ) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        guard let known = watch.records[row] else { throw Keeper.unwatched }
        if wards[row]?.siege != nil { try endSiege(row) }
        let ready = takeReady(known)
        if let report = try quickly(known, to: side, ready, arrived, clock) {
            return try written(report, row, reason)
        }
        var claim = try journal.claim(known.guest.id)
        guard claim.record.bracket != nil else {
            let report = try Switch(to: side, options: options, arrived: arrived).run(
                under: claim, on: &host.kernel, since: clock)
            return try written(report, row, reason)
        }
        let place = side == .remote ? Side.standby : side
        var report = try CloseBracket(at: place, options: options, ready: ready).run(
            under: claim, on: &host.kernel, since: clock)
        if side == .remote, report.exitCode == 0, try claim.reread() {
            _ = book(report, reason: reason)
            report = try Switch(to: side, options: options).run(under: claim, on: &host.kernel, since: clock)
        }
        return try written(report, row, reason)
    }

    /// Redirects a guest without reading its ports again: it uses the watched record and what was read in advance.
    ///
    /// - Returns: nil when the record is no longer that one; nothing was changed then.
    private mutating func quickly(
        _ known: GuestRecord, to side: Side, _ ready: Observation?, _ arrived: (() -> Void)?, _ clock: Stopwatch
    ) throws(ControllerError) -> Report? {
        guard known.phase == .pinned, known.boot == journal.boot, let claim = try journal.claim(known) else {
            return nil
        }
        return try Switch(to: side, options: options, ready: ready, arrived: arrived).run(
            under: claim, on: &host.kernel, since: clock)
    }

    /// Opens a bracket for a guest, or notes where an open one leads to.
    ///
    /// - Parameters:
    ///   - row: the guest.
    ///   - goal: where the guest is going.
    ///   - isDeclared: the configuration says that the guest takes one of two copies, whatever `prepare` was told.
    ///   - reason: for the history.
    /// - Throws: ``ControllerError``; nothing was changed.
    package mutating func openBracket(
        _ row: Int64, to goal: Side, isDeclared: Bool, reason: String
    ) throws(ControllerError) -> Report {
        let clock = Stopwatch()
        guard let known = watch.records[row] else { throw Keeper.unwatched }
        var options = options
        if isDeclared { options.allowsDuplicates = true }
        let claim = try journal.claim(known.guest.id)
        let report = try OpenBracket(
            to: goal, options: options, ready: takeReady(claim.record), rate: .seen(seenRate(of: claim.record))
        ).run(under: claim, on: &host.kernel, since: clock)
        return try written(report, row, reason)
    }

    /// What announces a guest on its uplink, with the IP addresses that its record and the configuration tell; made beforehand for a
    /// guest that is awaited (``makeOneReady()``).
    ///
    /// - Throws: ``ControllerError`` for a guest that has no uplink.
    package mutating func announcer(_ row: Int64) throws(ControllerError) -> Announcer {
        guard let record = watch.records[row] else { throw Keeper.unwatched }
        if let ready = wards[row]?.announcer.take() { return ready }
        return try makeAnnouncer(of: record)
    }

    mutating func makeAnnouncer(of record: GuestRecord) throws(ControllerError) -> Announcer {
        let configured = asking.rules.ips[record.guest.id] ?? []
        return try Announce(ips: configured, known: declaredIPs(record)).announcer(for: record.guest, on: &host)
    }

    /// Lets a guest's own filter decide about its addresses (``FollowFilter``).
    package mutating func followFilter(
        _ row: Int64, _ filter: RxFilter, limit: Int
    ) throws(ControllerError) -> AdoptionReport {
        guard let known = watch.records[row] else { throw Keeper.unwatched }
        let report = try FollowFilter(filter, limit: limit, options: options).run(known.guest.id, on: &host)
        try relearn(row)
        return report
    }

    /// Takes the port that has come in the place of a guest's lost primary for its primary: the same port in hardware where that is
    /// recorded, otherwise one of the same name.
    ///
    /// - Returns: false when there is no such port of the guest's bridge.
    /// - Throws: ``ControllerError``.
    package mutating func rebindPrimary(_ row: Int64) throws(ControllerError) -> Bool {
        guard let known = watch.records[row] else { throw Keeper.unwatched }
        guard var claim = try journal.claim(known.guest.id, row: row, patience: Journal.lockPatience) else {
            guard let record = try journal.record(known) else { return false }
            throw Claim.busy(record)
        }
        let guest = claim.record.guest
        guard claim.record.phase == .pinned else { return false }
        let links = try host.kernel.links()
        guard let primary = guest.primary else { return false }
        var found = links[primary.name]
        if let place = primary.devlink {
            let devlink = try host.kernel.devlink()
            found = links.all.first { $0.isEswitchPort && devlink[interface: $0.index]?.path == place }
        }
        guard let link = found, link.master == guest.bridge.index else { return false }
        if link.index != primary.index { try claim.rebind(primary: PortIdentity(link)) }
        watch.found(primary.name)
        try relearn(&claim)
        // The guard knows ports by their indexes. Where it cannot be made, `verify` and the next look say so.
        _ = try? host.kernel.restoreGuard(of: claim.record.guest)
        return true
    }

    private mutating func written(
        _ report: Report, _ row: Int64, _ reason: String
    ) throws(ControllerError) -> Report {
        try relearn(row)
        let report = book(report, reason: reason)
        guard report.exitCode == 0 || report.exitCode == ControllerError.Code.unproven.rawValue else {
            throw ControllerError(
                report.outcome == .rolledBack ? .rolledBack : .notRolledBack,
                report.failures.joined(separator: "; "))
        }
        return report
    }

    /// Watches a guest as its record is now.
    private mutating func relearn(_ row: Int64) throws(ControllerError) {
        if let known = watch.records[row], let record = try journal.record(known) { learn(record) } else { forget(row) }
    }

    /// The guest was released while something was asked for it.
    private static var unwatched: ControllerError {
        ControllerError(.precondition, "the guest was released meanwhile; nothing was changed")
    }
}
