/// What a NIC does with the frames of a guest that leaves and enters its VF.
public struct MACFilterVerdict: Hashable, Sendable, Codable {
    /// Whether the NIC can be used for failover.
    public enum Usability: String, Hashable, Sendable, Codable {
        /// Any order will do.
        case yes
        /// In the order that the verdict says.
        case withCare = "with-care"
        /// Every order loses frames for as long as the guest's driver takes.
        case no
    }

    /// The order of filter changes that is safe.
    public enum Order: String, Hashable, Sendable, Codable {
        /// Add the MAC at its new place, then remove it at its old one: nothing is lost, a moment's frames come twice.
        case makeBeforeBreak = "make-before-break"
        /// Remove it first: the NIC refuses a MAC in two places, or gives it to the wrong one.
        case breakBeforeMake = "break-before-make"
    }

    /// A VF takes its MAC's frames from when it gets the MAC, though nobody reads them yet.
    public let earlyFilter: Bool
    /// A VF keeps the frames of its MAC after its driver is gone, until the MAC is cleared.
    public let staleFilter: Bool
    /// While PF and VF have the MAC, both get each frame.
    public let duplicates: Bool
    /// Frames of other VFs go to a VF that nobody reads; nil without a sibling to send them.
    public let loopbackBlackhole: Bool?
    /// The PF's own entry gets the frames although a VF that nobody reads has the MAC; nil where the NIC refuses both.
    public let entryWinsOverUnreadVF: Bool?
    /// Clearing the VF's MAC gives the frames back.
    public let clearingWorks: Bool
    /// A VF that gets its MAC when it is up already gets frames at once.
    public let lateMACWorks: Bool
    /// A PF that takes every frame, as a bridge's port does, gets those of a VF that nobody reads; nil when not seen.
    public let promiscuityHelps: Bool?
    /// The PF gets frames of a MAC that nobody has.
    public let unknownReachesPF: Bool
    /// Whether the NIC can be used for failover.
    public let usableForFailover: Usability
    /// The order that is safe.
    public let order: Order

    /// Judges by the counts of a probe, the untagged and the tagged frames alike: what happens to either happens.
    ///
    /// - Parameters:
    ///   - counts: of all states.
    ///   - refused: states that the NIC refused.
    public init(_ counts: [MACFilterCounts], refused: Set<MACFilterProbe.State> = []) {
        func wire(_ state: MACFilterProbe.State, _ source: MACFilterCounts.Source = .wire) -> [MACFilterCounts] {
            counts.filter { $0.parts == state && $0.source == source }
        }
        /// All kinds of frames, where any were sent.
        func all(_ counts: [MACFilterCounts], _ what: (MACFilterCounts) -> Bool) -> Bool {
            !counts.isEmpty && counts.allSatisfy(what)
        }
        /// With the MAC on a VF that nobody reads, frames do not arrive that arrive without it: at the PF, which reads them
        /// by default, by its own entry or by promiscuity, or, from a sibling, anywhere.
        func steals(_ phase: MACFilterProbe.Phase) -> Bool {
            let pairs: [(without: MACFilterProbe.State, with: MACFilterProbe.State)] = [
                (.init(.unbound, .none), .init(phase, .vf)), (.init(.unbound, .pf), .init(phase, .both)),
                (.init(.unbound, .none, isPromiscuous: true), .init(phase, .vf, isPromiscuous: true)),
            ]
            return counts.contains { before in
                guard let pair = pairs.first(where: { $0.without == before.parts }) else { return false }
                return counts.contains { after in
                    guard after.parts == pair.with, after.source == before.source, after.tagged == before.tagged else {
                        return false
                    }
                    return before.source == .wire
                        ? before.reachesPF && !after.reachesPF : !before.isLost && after.isLost
                }
            }
        }
        earlyFilter = steals(.unbound) || steals(.bound)
        staleFilter = steals(.down) || steals(.unboundAgain)
        duplicates = wire(.init(.up, .both)).contains { $0.reachesPF && $0.reachesVF }
        let siblings = wire(.init(.unbound, .none), .sibling)
        loopbackBlackhole =
            siblings.isEmpty
            ? nil
            : [MACFilterProbe.Phase.unbound, .unboundAgain].contains { phase in
                let unread = wire(.init(phase, .vf), .sibling)
                return zip(siblings, unread).contains { !$0.isLost && $1.isLost }
            }
        let unread: [MACFilterProbe.State] = [
            .init(.unbound, .both), .init(.bound, .both), .init(.down, .both), .init(.unboundAgain, .both),
        ]
        let isRefused = unread.contains { refused.contains($0) }
        let wins = unread.allSatisfy { all(wire($0), \.reachesPF) }
        entryWinsOverUnreadVF = isRefused ? nil : wins
        clearingWorks = all(wire(.init(.cleared, .pf)), \.reachesPF)
        lateMACWorks = all(wire(.init(.up, .vf, isLate: true)), \.reachesVF)
        let promiscuous = wire(.init(.unbound, .vf, isPromiscuous: true))
        // Where promiscuity loses even frames that nobody has filtered, it says nothing about the VF's filter.
        let baseline = wire(.init(.unbound, .none, isPromiscuous: true))
        promiscuityHelps = all(baseline, \.reachesPF) ? all(promiscuous, \.reachesPF) : nil
        unknownReachesPF = all(wire(.init(.unbound, .none)), \.reachesPF)

        let vfReceives =
            all(wire(.init(.up, .vf)), \.reachesVF) && (isRefused || all(wire(.init(.up, .both)), \.reachesVF))
        let canBoth = entryWinsOverUnreadVF == true && vfReceives
        order = canBoth ? .makeBeforeBreak : .breakBeforeMake
        if !vfReceives || !clearingWorks {
            usableForFailover = .no
        } else if !earlyFilter, !staleFilter, loopbackBlackhole != true {
            usableForFailover = .yes
        } else if canBoth || lateMACWorks {
            usableForFailover = .withCare
        } else {
            usableForFailover = .no
        }
    }

    /// Frames of the MAC were lost before anything had it, and no more when nothing had it again: the NIC held a filter
    /// that no list shows, and the counts are not worth a verdict.
    package static func beganFiltered(_ counts: [MACFilterCounts]) -> Bool {
        counts.filter { $0.parts == .init(.unbound, .none) && $0.isLost }.contains { lost in
            counts.contains {
                $0.parts == .init(.cleared, .none) && $0.source == lost.source && $0.tagged == lost.tagged && !$0.isLost
            }
        }
    }

    /// The verdict in words, the safe order last.
    public var words: [String] {
        var words: [String] = []
        words.append(
            earlyFilter
                ? "early filter: a VF takes its MAC's frames from when it gets the MAC; nobody reads them before the "
                    + "guest's driver is up"
                : "no early filter: a VF takes no frames before its driver is up")
        words.append(
            staleFilter
                ? "stale filter: a VF that its driver has left keeps the frames of its MAC"
                    + (clearingWorks ? " until the MAC is cleared" : ", and clearing the MAC does not help")
                : "no stale filter: a VF that its driver has left takes no frames")
        words.append(
            duplicates
                ? "duplicates: while PF and VF both have the MAC, each gets every frame"
                : "no duplicates: a frame goes to one place")
        if let loopbackBlackhole {
            words.append(
                loopbackBlackhole
                    ? "loopback blackhole: frames from other VFs to a VF that nobody reads reach neither the wire nor the PF"
                    : "no loopback blackhole: frames from other VFs are not lost to a VF that nobody reads")
        }
        if promiscuityHelps == false, earlyFilter || staleFilter {
            words.append("a promiscuous PF, as the port of a bridge is, does not get those frames either")
        }
        switch (usableForFailover, order) {
        case (.yes, _):
            words.append("usable for failover: yes")
        case (.withCare, .makeBeforeBreak):
            words.append(
                "usable for failover: with care. To the standby: add the MAC to the list of the standby's NIC port, then "
                    + "clear the VF's MAC. To the VF: give it the MAC while the port's entry stays, and remove the entry "
                    + "only when the guest's driver is up")
        case (.withCare, .breakBeforeMake):
            words.append(
                "usable for failover: with care. To the standby: clear the VF's MAC, then add it to the list of the "
                    + "standby's NIC port. To the VF: give it the MAC only when the guest's driver is up, after the "
                    + "entry was removed; frames in between are lost")
        case (.no, _):
            words.append(
                "usable for failover: no. "
                    + (clearingWorks
                        ? "no order of changes keeps the frames while the guest's driver is not up"
                        : "the frames do not come back to the PF when the VF's MAC is cleared"))
        }
        return words
    }
}
