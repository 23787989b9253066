import FDB
import Netlink
package import Policy
package import QMP
import Records
import Switchdev
import System

/// Lets a guest's own filter decide about addresses of its guest interface: pins what it asks for and may have, and gives
/// back what it asks for no more. The journal is written first.
package struct FollowFilter {
    /// What the guest asked for on its standby.
    let filter: RxFilter
    /// How many addresses it may get by asking.
    let limit: Int
    /// A MAC that the bridge has learned behind the uplink is not refused: it may be the guest's own, from before it came here, or
    /// that of a host which the guest would cut off.
    let takesLearned: Bool
    let options: VerbOptions

    package init(
        _ filter: RxFilter, limit: Int, takesLearned: Bool = false, options: VerbOptions = VerbOptions()
    ) {
        self.filter = filter
        self.limit = limit
        self.takesLearned = takesLearned
        self.options = options
    }

    /// - Throws: ``ControllerError``; of codes `precondition` and `busy` when nothing was changed.
    package func run(_ id: GuestID, on host: inout Host) throws(ControllerError) -> AdoptionReport {
        let journal = try host.journal(for: id)
        var claim = try journal.claim(id, onlyReads: options.dryRun)
        guard claim.record.phase == .pinned else {
            throw ControllerError(
                .precondition,
                "guest \(id) is being redirected (\(claim.record.phase.rawValue)): its addresses stay as they are",
                remedy: "try again when it has ended")
        }
        let decision = try decide(claim, on: &host.kernel)
        var refused = decision.refused
        let guest = claim.record.guest
        var found: [Entry] = []
        let joining = try unowned(
            decision.joining, guest: guest, refused: &refused, found: &found, on: &host.kernel)
        if !options.dryRun {
            try host.kernel.requirePrivilege()
            try FollowFilter.giveBack(decision.leaving, claim, on: &host.kernel)
            try pin(joining, found: found, &claim, on: &host)
        }
        return AdoptionReport(
            guest: id.text, joined: joining.map(\.description), left: decision.leaving.map(\.description),
            refused: refused)
    }

    private func decide(
        _ claim: borrowing Claim, on kernel: inout Kernel
    ) throws(ControllerError) -> FilterDecision {
        let guest = claim.record.guest
        let others = try claim.journal.records().map(\.guest).filter { $0.bridge.index == guest.bridge.index }
        let links = try kernel.links()
        let vlans =
            try links[guest.bridge.index]?.bridge?.filtersVLANs == true
            ? kernel.vlans(of: guest.standby.index, named: guest.standby.name) : nil
        return FilterDecision(
            filter, guest: guest, adopted: Set(guest.adopted), others: others,
            reserved: Set(
                (links.ports(of: guest.bridge.index) + [links[guest.bridge.index]].compactMap { $0 }).compactMap(\.mac)),
            vlans: vlans, limit: limit)
    }

    /// Without those that are somebody else's by the bridge's table.
    ///
    /// - Parameter found: the entries of the others.
    private func unowned(
        _ addresses: [Address], guest: GuestInterface, refused: inout [String], found: inout [Entry],
        on kernel: inout Kernel
    ) throws(ControllerError) -> [Address] {
        let entries = try kernel.entries(addresses, of: guest)
        var own = Set(guest.own.map(\.port.index))
        if let uplink = guest.uplink, takesLearned { own.insert(uplink.index) }
        return zip(addresses, entries).compactMap { address, entry in
            guard let entry else { return address }
            if own.contains(entry.port), !entry.isLocal, !entry.isSticky,
                entry.isDynamic || entry.port != guest.uplink?.index
            {
                found.append(entry)
                return address
            }
            refused.append("\(address) is somebody else's by the bridge's table: \(entry)")
            return nil
        }
    }

    private func pin(
        _ addresses: [Address], found: [Entry], _ claim: inout Claim, on host: inout Host
    ) throws(ControllerError) {
        guard !addresses.isEmpty else { return }
        try claim.adopt(addresses, found: found)
        do throws(ControllerError) {
            // With the new addresses in the journal the side that it says is the side that they are brought to.
            try claim.reread()
            let report = host.book(
                try Switch(to: claim.record.guest.side, options: options).run(
                    under: claim, on: &host.kernel, since: Stopwatch()))
            guard report.outcome == .done || report.outcome == .already else {
                throw ControllerError(
                    report.outcome == .rolledBack ? .rolledBack : .notRolledBack,
                    "the new addresses of guest \(claim.record.guest.id) could not be pinned: "
                        + report.failures.joined(separator: "; "))
            }
        } catch {
            try? claim.drop(addresses)
            throw error
        }
    }

    /// Entries of addresses that the guest does not use any more: nothing would be forwarded to them but floods. Those that
    /// were static before it asked for them stay.
    static func giveBack(
        _ addresses: [Address], _ claim: borrowing Claim, on kernel: inout Kernel
    ) throws(ControllerError) {
        guard !addresses.isEmpty else { return }
        let guest = claim.record.guest
        let entries = try kernel.entries(addresses, of: guest)
        let own = Set(guest.ports.map(\.port.index))
        let found = claim.found
        let pinned = entries.compactMap { $0 }.filter {
            $0.isStatic && own.contains($0.port) && found?[$0.address]?.isStatic != true
        }
        // Who dies between leaves a phase that says so, and whoever ends that makes the entries again.
        let isAtRest = claim.record.phase == .pinned
        if isAtRest { try claim.write(.intent(.switching, goal: guest.side)) }
        _ = kernel.socket.perform(pinned.map { EntryRequest.delete($0.address, port: $0.port) })
        try claim.drop(addresses, settlesAt: isAtRest ? guest.side : nil)
    }
}
