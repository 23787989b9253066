import FDB
import Netlink
package import Policy
import Records
import Switchdev
import System

/// Tells the physical network that a guest is here: RARP for each of its addresses, in its VLAN, and ARP and neighbour
/// advertisements for the IP addresses given, and for those that are known otherwise; out of the uplink.
package struct Announce {
    /// The IP addresses to announce beside the MACs.
    let ips: [AnnouncementRequest.Owned]
    /// IP addresses that the record or the configuration tells. Those that do not say whose they are stay out.
    let known: [AnnouncementRequest.Owned]

    package init(ips: [AnnouncementRequest.Owned] = [], known: [AnnouncementRequest.Owned] = []) {
        self.ips = ips
        self.known = known.filter { known in !ips.contains { $0.ip == known.ip } }
    }

    /// Announces a guest as often as asked.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for a guest that is not here or has no uplink, of code `usage` for
    ///   IP addresses that do not say whose they are.
    package static func run(
        _ id: GuestID, _ request: AnnouncementRequest, dryRun: Bool = false, on host: inout Host
    ) throws(ControllerError) -> AnnouncementReport {
        let journal = try host.journal(for: id)
        let record = try journal.guest(id)
        let guest = record.guest
        guard guest.side != .remote else {
            throw ControllerError(
                .precondition, "guest \(guest.id) is remote: announcing it here would draw its frames away from it",
                remedy: "switch it to standby or primary once it runs here")
        }
        let prepared = try Announce(ips: request.ips, known: journal.ips(of: id)).prepare(guest, on: &host.kernel)
        if !dryRun {
            for round in 0..<request.count {
                if round > 0 {
                    let hangup = host.pause(request.interval)
                    let side = try journal.record(record)?.guest.side
                    if let end = hangup ?? (side == nil ? "released" : side == .remote ? "switched to remote" : nil) {
                        throw ControllerError(
                            .precondition, "guest \(id) was announced \(round) times, and then no more: it was \(end)")
                    }
                }
                do throws(NetlinkError) {
                    try prepared.announcer.sendRound()
                } catch {
                    throw ControllerError(
                        .precondition, "guest \(id) was announced \(round) times, and then no more", cause: error)
                }
            }
        }
        return AnnouncementReport(
            guest: id.text, port: prepared.port, frames: prepared.announcer.frames.count,
            rounds: dryRun ? 0 : request.count, notes: prepared.notes)
    }

    /// What sends a guest's announcements, a round at a time, for callers that have their own clock, and that know that it is here or
    /// about to be.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` for a guest that has no uplink, of code `usage` as
    ///   ``run(_:_:dryRun:on:)``.
    package func announcer(for guest: GuestInterface, on host: inout Host) throws(ControllerError) -> Announcer {
        try prepare(guest, on: &host.kernel).announcer
    }

    private func prepare(
        _ guest: GuestInterface, on kernel: inout Kernel
    ) throws(ControllerError) -> (announcer: Announcer, notes: [String], port: String) {
        guard let uplink = guest.uplink else {
            throw ControllerError(
                .precondition, "guest \(guest.id) has no uplink to be announced on",
                remedy: "release it and prepare it with --uplink")
        }
        let announcements = try announcements(of: guest)
        let vlans =
            guest.addresses.contains { $0.vlan != nil }
            ? try kernel.vlans(of: uplink.index, named: uplink.name) : PortVLANs()
        let tagType = guest.addresses.contains { $0.vlan != nil } ? try kernel.tagType(of: guest) : 0x8100
        let strangers = guest.addresses.filter { address in address.vlan.map { !vlans.members.contains($0) } ?? false }
        let notes = strangers.map { "\($0) is not announced: \(uplink.name) is no member of its VLAN" }
        let frames = announcements.filter { !strangers.contains($0.address) }.map { announcement in
            // Sent past the bridge, which would take the tag off where the port's frames leave without.
            let isTagged = announcement.address.vlan.map { !vlans.untagged.contains($0) } ?? false
            return announcement.frame(tagType: isTagged ? tagType : nil)
        }
        let announcer = try ControllerError.reading("or write frames of \(uplink.name)") { () throws(NetlinkError) in
            try Announcer(frames, port: uplink)
        }
        return (announcer, notes, uplink.name)
    }

    /// RARP for each address, and what the request says of IP addresses.
    private func announcements(of guest: GuestInterface) throws(ControllerError) -> [Announcement] {
        var announcements = guest.addresses.map { Announcement($0) }
        func owner(_ owned: AnnouncementRequest.Owned) -> Address? {
            let address = owned.address ?? (guest.addresses.count == 1 ? guest.addresses.first : nil)
            return guest.addresses.first { own in
                address.map { $0.mac == own.mac && ($0.vlan == nil || $0.vlan == own.vlan) } ?? false
            }
        }
        for owned in ips {
            guard let address = owner(owned) else {
                throw ControllerError(
                    .usage,
                    owned.address.map { "\($0) is no address of guest \(guest.id)" }
                        ?? "guest \(guest.id) has several addresses: whose is \(owned.ip)?",
                    remedy:
                        "write \(owned.ip)=MAC[/VLAN] with one of \(guest.addresses.map(\.description).joined(separator: ", "))"
                )
            }
            announcements.append(Announcement(address, ip: owned.ip))
        }
        announcements += known.compactMap { owned in owner(owned).map { Announcement($0, ip: owned.ip) } }
        return announcements
    }
}
