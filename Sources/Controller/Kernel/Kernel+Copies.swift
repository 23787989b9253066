import FDB
import Netlink
import Policy
import Switchdev
import System

/// A bracket's copy: what leaves by the standby port to the guest leaves by the primary port too.
extension Kernel {
    /// What the kernel shows of a guest's bracket; nil without one.
    ///
    /// - Parameter goal: where the guest is to go, where the record does not say it yet.
    mutating func view(_ record: GuestRecord, goal: Side? = nil) -> BracketView? {
        guard let bracket = record.bracket else { return nil }
        var state: CopyState?
        if let observation = try? observe(record.guest), let specification = try? specification(record, observation) {
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
            vlans = (
                try self.vlans(of: guest.standby.index, named: guest.standby.name),
                try self.vlans(of: guest.primary.index, named: guest.primary.name)
            )
        }
        return CopySpecification(
            source: guest.standby.index, target: guest.primary.index,
            matches: try Planner.matches(guest, vlans: vlans), groups: Planner.groups(observation),
            number: UInt32(truncatingIfNeeded: record.row), label: guest.id.text)
    }

    /// How a guest's copy can be made now.
    ///
    /// - Parameter isTrying: tries what only an attempt shows; a dry run does not.
    mutating func footing(_ guest: GuestInterface, isTrying: Bool) throws(ControllerError) -> Copies.Footing {
        let port = guest.standby
        return try ControllerError.reading("the filters of \(port.name)") { () throws(NetlinkError) in
            try Copies.footing(on: port.index, named: port.name, trying: isTrying, using: &socket)
        }
    }

    /// Makes or removes a copy.
    ///
    /// - Returns: what happened, and what a copy that was removed had carried.
    mutating func copy(_ change: CopyChange, goal: Side) -> (event: Redirection.Event, ended: BracketView?) {
        let bracket = change.bracket
        do throws(NetlinkError) {
            guard !change.isOn else {
                try install(change)
                return (.done, nil)
            }
            let state = try? Copies.state(change.specification, by: bracket.means, using: &socket)
            try Copies.remove(change.specification, by: bracket.means, ownsClsact: bracket.ownsClsact, using: &socket)
            var view = BracketView(bracket, goal: goal, state: state, now: Stopwatch.realTime)
            view.isOpen = false
            return (.done, view)
        } catch {
            let words =
                "cannot \(change.isOn ? "make" : "remove") the copy from \(change.portName) to \(change.targetName)"
            return (.failed(Redirection.Failure(words, cause: KernelRefusal(error))), nil)
        }
    }

    /// Makes the copy of an open bracket anew.
    ///
    /// - Parameter old: what made the copy before.
    mutating func remake(_ change: CopyChange, insteadOf old: Bracket) throws(ControllerError) {
        try ControllerError.reading("or make the copy of guest \(change.specification.label)") {
            () throws(NetlinkError) in
            if old.means != change.bracket.means {
                try Copies.remove(change.specification, by: old.means, ownsClsact: old.ownsClsact, using: &socket)
            }
            try install(change)
        }
    }

    private mutating func install(_ change: CopyChange) throws(NetlinkError) {
        try Copies.install(
            change.specification, by: change.bracket.means, portName: change.portName,
            ownsClsact: change.bracket.ownsClsact, using: &socket)
    }

    /// How many frames a second a port sends, seen over a tenth of a second.
    mutating func rate(of port: PortIdentity) throws(ControllerError) -> UInt64 {
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
        return (looks[1].frames &- looks[0].frames) * 1_000_000_000 / nanoseconds
    }
}
