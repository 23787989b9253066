/// What a NIC does with a guest's frames when the guest leaves and enters its VF.
public struct MACFilterVerdict: Hashable, Sendable, Codable {
    /// Whether the NIC can be used for failover.
    public enum Usability: String, Hashable, Sendable, Codable, CaseIterable {
        /// Yes, with any order of filter changes.
        case yes
        /// Yes, with the order in the verdict.
        case withCare = "with-care"
        /// No: every order loses frames until the guest's driver is ready.
        case no
    }

    /// A VF takes its MAC's frames as soon as it gets the MAC, even before its interface is up.
    public let earlyFilter: Bool
    /// A VF keeps taking the frames of its MAC after its interface goes down or its driver is unbound, until the MAC is
    /// cleared.
    public let staleFilter: Bool
    /// While PF and VF both have the MAC, each frame goes to both.
    public let duplicates: Bool
    /// Frames of other VFs go to a VF that is not up; nil if no sibling sent any.
    public let loopbackBlackhole: Bool?
    /// The PF's own entry gets the frames although a VF that is not up has the MAC; nil if the NIC refuses both.
    public let entryWinsOverUnreadVF: Bool?
    /// Clearing the VF's MAC returns the frames to the PF.
    public let clearingWorks: Bool
    /// A VF that gets its MAC after it came up receives frames at once.
    public let lateMACWorks: Bool
    /// A promiscuous PF, as a bridge port is, gets the frames of a VF that is not up; nil if that was not measured.
    public let promiscuityHelps: Bool?
    /// The PF gets frames for a MAC that no filter has.
    public let unknownReachesPF: Bool
    /// Whether the NIC can be used for failover.
    public let usableForFailover: Usability
    /// The safe order.
    public let order: FilterOrder

    /// Derives the verdict from the counts of a probe. It covers untagged and tagged frames: a loss of either kind counts.
    ///
    /// - Parameters:
    ///   - counts: the counts of all states.
    ///   - refused: the states that the NIC refused.
    public init(_ counts: [MACFilterCounts], refused: Set<MACFilterProbe.State> = []) {
        let measured = Measured(counts: counts)
        earlyFilter = measured.steals(.unbound) || measured.steals(.bound)
        staleFilter = measured.steals(.down) || measured.steals(.unboundAgain)
        duplicates = measured.counts(in: .init(.up, .both)).contains { $0.reachesPF && $0.reachesVF }
        let siblings = measured.counts(in: .init(.unbound, .none), from: .sibling)
        loopbackBlackhole =
            siblings.isEmpty
            ? nil
            : [MACFilterProbe.Phase.unbound, .unboundAgain].contains { phase in
                let unread = measured.counts(in: .init(phase, .vf), from: .sibling)
                return zip(siblings, unread).contains { !$0.isLost && $1.isLost }
            }
        let unread: [MACFilterProbe.State] = [
            .init(.unbound, .both), .init(.bound, .both), .init(.down, .both), .init(.unboundAgain, .both),
        ]
        let isRefused = unread.contains { refused.contains($0) }
        let wins = unread.allSatisfy { measured.all(in: $0, \.reachesPF) }
        entryWinsOverUnreadVF = isRefused ? nil : wins
        clearingWorks = measured.all(in: .init(.cleared, .pf), \.reachesPF)
        lateMACWorks = measured.all(in: .init(.up, .vf, isLate: true), \.reachesVF)
        // If a promiscuous PF loses even frames that no filter matches, promiscuity says nothing about the VF's filter.
        promiscuityHelps =
            measured.all(in: .init(.unbound, .none, isPromiscuous: true), \.reachesPF)
            ? measured.all(in: .init(.unbound, .vf, isPromiscuous: true), \.reachesPF) : nil
        unknownReachesPF = measured.all(in: .init(.unbound, .none), \.reachesPF)

        let vfReceives =
            measured.all(in: .init(.up, .vf), \.reachesVF)
            && (isRefused || measured.all(in: .init(.up, .both), \.reachesVF))
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

    /// Frames of the MAC were lost before any filter had it, and were not lost once no filter had it again. The NIC then held a
    /// filter that no list shows, and the counts do not support a verdict.
    package static func beganFiltered(_ counts: [MACFilterCounts]) -> Bool {
        counts.filter { $0.parts == .init(.unbound, .none) && $0.isLost }.contains { lost in
            counts.contains {
                $0.parts == .init(.cleared, .none) && $0.source == lost.source && $0.tagged == lost.tagged && !$0.isLost
            }
        }
    }

    /// The verdict in words, with the safe order last.
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

/// The counts of all states, as the verdict asks for them.
private struct Measured {
    let counts: [MACFilterCounts]

    func counts(
        in state: MACFilterProbe.State, from source: MACFilterCounts.Source = .wire
    ) -> [MACFilterCounts] {
        counts.filter { $0.parts == state && $0.source == source }
    }

    /// Whether all kinds of frames that were sent from the wire in a state satisfy a condition.
    func all(in state: MACFilterProbe.State, _ what: (MACFilterCounts) -> Bool) -> Bool {
        let counts = counts(in: state)
        return !counts.isEmpty && counts.allSatisfy(what)
    }

    /// Whether frames stop arriving when a VF that is not up has the MAC. A frame from the wire arrives if the PF gets it:
    /// by default, by its own entry or by promiscuity. A frame from a sibling arrives if it gets anywhere.
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
}
