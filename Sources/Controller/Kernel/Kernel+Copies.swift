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
        var (state, isSeen): (CopyState?, Bool) = (nil, true)
        if let observation = try? observe(record.guest, showsUnseen: true),
            let specification = try? specification(record, observation)
        {
            do throws(NetlinkError) {
                state = try Copies.state(specification, by: bracket.means, using: &socket)
            } catch {
                isSeen = error.errno != .notPermitted
            }
        }
        return BracketView(
            bracket, goal: goal ?? record.goal ?? record.guest.side, state: state, isSeen: isSeen,
            now: Stopwatch.realTime)
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
                try self.vlans(of: guest.firstPort.index, named: guest.firstPort.name)
            )
        }
        return CopySpecification(
            source: guest.standby.index, target: guest.firstPort.index,
            matches: try Planner.matches(guest, vlans: vlans), groups: Planner.groups(observation),
            tagType: observation.bridge?.bridge?.tagType ?? 0x8100, number: UInt32(truncatingIfNeeded: record.row),
            label: guest.id.text)
    }

    /// The type of the tags of a guest's bridge: 0x8100 (IEEE 802.1Q) or 0x88a8 (802.1ad).
    mutating func tagType(of guest: GuestInterface) throws(ControllerError) -> UInt16 {
        let links = try ControllerError.reading("the bridge of guest \(guest.id)") { () throws(NetlinkError) in
            try Links.read([guest.bridge.index], using: &socket)
        }
        return links[0]?.bridge?.tagType ?? 0x8100
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

    /// How many frames a second a port sends, seen over a tenth of a second; nil when its counters began again meanwhile.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the port is gone.
    mutating func rate(of port: PortIdentity) throws(ControllerError) -> UInt64? {
        let first = try sent(by: port)
        sleepNanoseconds(SentFrames.pause)
        return try sent(by: port).rate(since: first)
    }

    /// How many frames a port has sent.
    ///
    /// - Throws: ``ControllerError`` of code `precondition` when the port is gone.
    mutating func sent(by port: PortIdentity) throws(ControllerError) -> SentFrames {
        guard let look = try sent(by: [port.index], of: port.name).first else {
            throw ControllerError(
                .precondition, "\(port.name) is gone: how many frames it sends cannot be seen; nothing was changed",
                remedy: "see with \"fdbsteer status\" which ports the guest has left")
        }
        return look
    }

    /// How many frames ports have sent; those that are gone are missing.
    mutating func sent(by ports: [Int32], of what: String) throws(ControllerError) -> [SentFrames] {
        let counters = try ControllerError.reading("the counters of \(what)") { () throws(NetlinkError) in
            try PortCounters.read(ports, using: &socket)
        }
        let now = monotonicNanoseconds()
        return zip(ports, counters).compactMap { port, counters in
            counters.map { SentFrames(port: port, time: now, count: $0.txPackets) }
        }
    }
}

/// How many frames a port has sent since it was made, at a moment.
struct SentFrames: Hashable {
    /// The shortest time between two looks that say how many it sends a second, in nanoseconds.
    static let pause: Int64 = 100_000_000

    /// Interface index.
    let port: Int32
    /// CLOCK_MONOTONIC in nanoseconds.
    let time: Int64
    let count: UInt64

    /// Frames a second since an earlier look; nil when the counter began again in between.
    func rate(since earlier: SentFrames) -> UInt64? {
        count.growth(since: earlier.count)?.perSecond(over: time - earlier.time)
    }
}
