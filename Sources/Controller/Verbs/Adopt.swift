import FDB
import Netlink
public import Policy
public import QMP
import Records
import Switchdev
import System

extension Host {
    /// Lets a guest's own filter decide about addresses of its guest interface: pins what it asks for and may have, and gives
    /// back what it asks for no more. The journal is written first.
    ///
    /// - Parameters:
    ///   - id: the guest.
    ///   - filter: what it asked for on its standby.
    ///   - limit: how many addresses it may get by asking.
    ///   - takesLearned: a MAC that the bridge has learned behind the uplink is not refused: it may be the guest's own, from
    ///     before it came here, or that of a host which the guest would cut off.
    ///   - options: how.
    /// - Throws: ``ControllerError``; of codes `precondition` and `busy` when nothing was changed.
    public mutating func adopt(
        _ id: GuestID, filter: RxFilter, limit: Int, takesLearned: Bool = false, options: VerbOptions
    ) throws(ControllerError) -> AdoptionReport {
        let journal = try openJournal(for: id)
        let record = try claim(id, in: journal, options)
        defer { if !options.dryRun { journal.unlock(row: record.row) } }
        guard record.phase == .pinned else {
            throw ControllerError(
                .precondition,
                "guest \(id) is being redirected (\(record.phase.rawValue)): its addresses stay as they are",
                remedy: "try again when it has ended")
        }
        let guest = record.guest
        let others = try journal.records().map(\.guest).filter { $0.bridge.index == guest.bridge.index }
        let links = try ControllerError.reading("the interfaces") { () throws(NetlinkError) in
            try Links.snapshot(using: &socket)
        }
        let vlans =
            try links[guest.bridge.index]?.bridge?.filtersVLANs == true
            ? ControllerError.reading("the VLANs of \(guest.standby.name)") { () throws(NetlinkError) in
                try PortVLANs.read(port: guest.standby.index, using: &socket)
            } : nil
        let decision = FilterDecision(
            filter, guest: guest, adopted: journal.adopted(row: record.row), others: others,
            reserved: Set(
                (links.ports(of: guest.bridge.index) + [links[guest.bridge.index]].compactMap { $0 }).compactMap(\.mac)),
            vlans: vlans, limit: limit)
        var refused = decision.refused
        let joining = try unowned(decision.joining, guest: guest, takesLearned: takesLearned, refused: &refused)
        if !options.dryRun {
            try requirePrivilege()
            try give(back: decision.leaving, record, journal)
            try pin(joining, record, journal, options)
        }
        return AdoptionReport(
            guest: id.text, joined: joining.map(\.description), left: decision.leaving.map(\.description),
            refused: refused)
    }

    /// Without those that are somebody else's by the bridge's table.
    private mutating func unowned(
        _ addresses: [Address], guest: GuestInterface, takesLearned: Bool, refused: inout [String]
    ) throws(ControllerError) -> [Address] {
        let entries = try ControllerError.reading("the table of \(guest.bridge.name)") { () throws(NetlinkError) in
            try Table.read(addresses, bridge: guest.bridge.index, using: &socket)
        }
        var own: Set = [guest.primary.index, guest.standby.index]
        if let uplink = guest.uplink, takesLearned { own.insert(uplink.index) }
        return zip(addresses, entries).compactMap { address, entry in
            guard let entry else { return address }
            if own.contains(entry.port), !entry.isLocal, !entry.isSticky,
                entry.isDynamic || entry.port != guest.uplink?.index
            {
                return address
            }
            refused.append("\(address) is somebody else's by the bridge's table: \(entry)")
            return nil
        }
    }

    private mutating func pin(
        _ addresses: [Address], _ record: GuestRecord, _ journal: borrowing Journal, _ options: VerbOptions
    ) throws(ControllerError) {
        guard !addresses.isEmpty else { return }
        try journal.adopt(addresses, into: record)
        do throws(ControllerError) {
            // With the new addresses in the journal the side that it says is the side that they are brought to.
            let now = try known(record.guest.id, in: journal)
            let report = finish(
                try redirect(
                    now, to: record.guest.side, verb: .switch, in: journal, clock: Stopwatch(), options: options))
            guard report.outcome == .done || report.outcome == .already else {
                throw ControllerError(
                    report.outcome == .notRolledBack ? .notRolledBack : .rolledBack,
                    "the new addresses of guest \(record.guest.id) could not be pinned: "
                        + report.failures.joined(separator: "; "))
            }
        } catch {
            try? journal.drop(addresses, from: record)
            throw error
        }
    }

    /// Entries of addresses that the guest does not use any more: nothing would be forwarded to them but floods.
    private mutating func give(
        back addresses: [Address], _ record: GuestRecord, _ journal: borrowing Journal
    ) throws(ControllerError) {
        guard !addresses.isEmpty else { return }
        let entries = try ControllerError.reading("the entries of guest \(record.guest.id)") {
            () throws(NetlinkError) in
            try Table.read(addresses, bridge: record.guest.bridge.index, using: &socket)
        }
        let own = Set(record.guest.ports.map(\.port.index))
        let pinned = entries.compactMap { $0 }.filter { $0.isStatic && own.contains($0.port) }
        _ = socket.perform(pinned.map { EntryRequest.delete($0.address, port: $0.port) })
        try journal.drop(addresses, from: record)
    }
}
