import FDB
import Netlink
import Policy
import Records
import Switchdev
import System

extension Host {
    /// What the kernel shows of a guest's bracket; nil without one.
    mutating func view(_ record: GuestRecord, goal: Side? = nil) -> BracketView? {
        guard let bracket = record.bracket else { return nil }
        var state: CopyState?
        if let observation = try? Observation.read(record.guest, using: &socket),
            let specification = try? specification(record, observation)
        {
            state = try? Copies.state(specification, by: bracket.means, using: &socket)
        }
        return BracketView(
            bracket, goal: goal ?? record.goal ?? record.guest.side, state: state, now: Stopwatch.realTime)
    }

    /// What a guest's bracket copies.
    mutating func specification(
        _ record: GuestRecord, _ observation: Observation
    ) throws(ControllerError) -> CopySpecification {
        let guest = record.guest
        var vlans: (standby: PortVLANs, primary: PortVLANs)?
        if observation.bridge?.bridge?.filtersVLANs == true {
            vlans = try ControllerError.reading("the VLANs of guest \(guest.id)'s ports") { () throws(NetlinkError) in
                (
                    try PortVLANs.read(port: guest.standby.index, using: &socket),
                    try PortVLANs.read(port: guest.primary.index, using: &socket)
                )
            }
        }
        return CopySpecification(
            source: guest.standby.index, target: guest.primary.index,
            matches: try Planner.matches(guest, vlans: vlans), groups: Planner.groups(observation),
            number: UInt32(truncatingIfNeeded: record.row), label: guest.id.text)
    }

    /// A change of a guest's copy; without a specification one that serves to remove it.
    func copyChange(
        _ record: GuestRecord, isOn: Bool, specification: CopySpecification? = nil
    ) -> CopyChange {
        let guest = record.guest
        let matches = guest.addresses.map { CopySpecification.Match(mac: $0.mac, tag: .any) }
        return CopyChange(
            specification: specification
                ?? CopySpecification(
                    source: guest.standby.index, target: guest.primary.index, matches: matches,
                    number: UInt32(truncatingIfNeeded: record.row), label: guest.id.text),
            bracket: record.bracket ?? Bracket.none, portName: guest.standby.name, targetName: guest.primary.name,
            isOn: isOn)
    }

    /// How a guest's copy can be had now, and what the operator should know of it.
    mutating func footing(
        _ record: GuestRecord, in journal: borrowing Journal, _ observation: Observation, options: VerbOptions
    ) throws(ControllerError) -> (Bracket, notes: [String]) {
        let port = record.guest.standby
        let footing = try ControllerError.reading("the filters of \(port.name)") { () throws(NetlinkError) in
            try Copies.footing(on: port.index, named: port.name, trying: !options.dryRun, using: &socket)
        }
        // A clsact that was made for another guest's bracket on the same port goes with the last of them.
        let isShared = try journal.records().contains {
            $0.boot == journal.boot && $0.row != record.row && $0.guest.standby.index == port.index
                && $0.bracket?.ownsClsact == true
        }
        var notes: [String] = []
        if footing.foreignFilters > 0 {
            notes.append(
                "\(footing.foreignFilters) filters of others on \(port.name) come first: what they end is not copied")
        }
        if footing.means == .clsact, !footing.hasClsact {
            notes.append(
                "this kernel's nftables cannot copy at egress: a clsact is made on \(port.name), and each time that one is "
                    + "made or removed frames of some milliseconds are lost there")
        }
        let flags = [Side.standby, .primary].map { observation.ports[$0]?.bridgePort?.flags ?? [] }
        if observation.bridge?.bridge?.snoopsMulticast == true, flags[0].contains(.multicastFlood),
            !flags[1].contains(.multicastFlood)
        {
            notes.append(
                "\(record.guest.primary.name) has mcast_flood off: multicast that the bridge floods reaches the standby only"
            )
        }
        return (
            Bracket(
                openedAt: Stopwatch.realTime, means: footing.means,
                ownsClsact: footing.means == .clsact && (!footing.hasClsact || isShared)), notes
        )
    }

    /// Refuses while the guest's port sends too many frames: all of them would take the slow path.
    mutating func requireRate(_ guest: GuestInterface, _ options: VerbOptions) throws(ControllerError) {
        guard options.bracketMaxRate > 0, let port = guest.port(of: guest.side), guest.side != .remote else { return }
        let pause: Int64 = 100_000_000
        var looks: [(time: Int64, frames: UInt64)] = []
        let clock = Stopwatch()
        for look in 0..<2 {
            if look > 0 { sleepNanoseconds(pause) }
            let counters = try ControllerError.reading("the counters of \(port.name)") { () throws(NetlinkError) in
                try PortCounters.read([port.index], using: &socket)
            }
            looks.append((clock.elapsed, counters.first??.txPackets ?? 0))
        }
        let nanoseconds = UInt64(max(1, looks[1].time - looks[0].time))
        let rate = (looks[1].frames &- looks[0].frames) * 1_000_000_000 / nanoseconds
        guard rate > options.bracketMaxRate else { return }
        throw ControllerError(
            .precondition,
            "\(port.name) sends \(rate) frames a second to guest \(guest.id), and a bracket is allowed up to "
                + "\(options.bracketMaxRate)",
            remedy: "wait until it is less, raise the limit, or use --strategy cut")
    }
}
