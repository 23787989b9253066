import FDB
public import JSON
public import Switchdev

/// A copy that a step of a plan makes or removes.
public struct CopyChange: Hashable, Sendable {
    /// What is copied.
    public let specification: CopySpecification
    /// The bracket that it belongs to.
    public let bracket: Bracket
    /// The port where the frames leave, by name.
    public let portName: String
    /// The port where their copies leave, by name.
    public let targetName: String
    /// Whether it is made or removed.
    public let isOn: Bool

    /// Makes one from its parts.
    public init(
        specification: CopySpecification, bracket: Bracket, portName: String, targetName: String, isOn: Bool
    ) {
        self.specification = specification
        self.bracket = bracket
        self.portName = portName
        self.targetName = targetName
        self.isOn = isOn
    }

    /// The change that restores the earlier state.
    package var undo: CopyChange {
        CopyChange(
            specification: specification, bracket: bracket, portName: portName, targetName: targetName, isOn: !isOn)
    }

    /// The table as nft(8) takes it.
    private func ruleset(_ table: String) -> String {
        func list(_ matches: [CopySpecification.Match]) -> String {
            "{ " + Set(matches.map(\.mac)).sorted().map(\.description).joined(separator: ", ") + " }"
        }
        let others = "ether saddr != \(list(specification.matches)) ether daddr"
        var groups: [String] = []
        if specification.groups.contains(.broadcast) { groups.append("\(others) ff:ff:ff:ff:ff:ff") }
        if specification.groups.contains(.multicast) {
            groups.append("\(others) != ff:ff:ff:ff:ff:ff ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00")
        }
        let rules = Dictionary(grouping: specification.matches, by: \.tag).flatMap { tag, matches in
            let type = specification.tagType == 0x88a8 ? "8021ad" : "8021q"
            let prefix =
                switch tag {
                case .any: ""
                case .untagged: "ether type != \(type) "
                case .vlan(let vlan): "ether type \(type) vlan id \(vlan) "
                }
            return (["ether daddr \(list(matches))"] + groups).map {
                "\(prefix)\($0) counter dup to \"\(targetName)\""
            }
        }.sorted()
        return "nft 'table \(table) { chain copy { type filter hook egress device \"\(portName)\" priority 0; "
            + rules.map { "\($0); " }.joined() + "}; }'"
    }

    /// Each message in words, with its `tc` or `nft` equivalent.
    package var messages: [PlannedMessage] {
        let count = specification.matches.count
        let copied = count == 1 ? "1 address" : "\(count) addresses"
        let words = isOn ? "copy \(copied) to \(targetName)" : "the copy to \(targetName)"
        let change = isOn ? "NEW" : "DEL"
        if bracket.means == .nftables {
            let table = "netdev \(specification.tableName)"
            return [
                PlannedMessage(
                    netlink: "NFT_MSG_\(change)TABLE \(table), egress of \(portName): \(words)",
                    bridgeCommand: isOn ? ruleset(table) : "nft delete table \(table)")
            ]
        }
        let clsact = PlannedMessage(
            netlink: "RTM_\(change)QDISC clsact \(portName)\(isOn ? "" : ", unless others have filters on it")",
            bridgeCommand: "tc qdisc \(isOn ? "add" : "del") dev \(portName) clsact")
        let place =
            "dev \(portName) egress protocol all prio \(TrafficControlRequest.preference) handle "
            + "\(specification.number) bpf"
        let program = CopyProgram(specification).bytecode
        let filter = PlannedMessage(
            netlink: "RTM_\(change)TFILTER egress of \(portName): \(words)",
            bridgeCommand: isOn
                ? "tc filter replace \(place) bytecode \"\(program)\" action mirred egress mirror dev \(targetName) continue"
                : "tc filter del \(place)")
        if !bracket.ownsClsact { return [filter] }
        return isOn ? [clsact, filter] : [filter, clsact]
    }
}

/// How a bracket stands, for `status` and for the report of a verb about it.
public struct BracketView: Hashable, Sendable, Encodable {
    /// Where the guest is to go.
    public let goal: Side
    /// When it was opened, in nanoseconds since 1970.
    @JSON.Time public private(set) var openedAt: Int64
    /// For how long it was open, in nanoseconds.
    public let openNanoseconds: Int64
    /// What makes the copy.
    public let means: CopyMeans
    /// Frames copied; nil when there is no copy.
    public var framesCopied: UInt64?
    /// Frames copied a second, on average.
    public var framesPerSecond: UInt64?
    /// Bytes copied.
    public var bytesCopied: UInt64?
    /// Frames whose copy could not be handed to the primary.
    public var copiesFailed: UInt64?
    /// The copy is there, and copies exactly this guest's frames to its primary; nil where this process may not see it.
    public var isCopyRight: Bool?
    /// It is open still.
    public var isOpen: Bool

    package init(_ bracket: Bracket, goal: Side, state: CopyState?, isSeen: Bool = true, now: Int64) {
        self.goal = goal
        openedAt = bracket.openedAt
        openNanoseconds = max(0, now - bracket.openedAt)
        means = bracket.means
        framesCopied = state?.frames
        framesPerSecond = state?.frames.perSecond(over: openNanoseconds)
        bytesCopied = state?.bytes
        copiesFailed = state?.failed
        isCopyRight = isSeen ? state?.isAsSpecified == true : nil
        isOpen = true
    }
}

extension BracketView {
    /// For people.
    public var words: String {
        let rate = framesPerSecond.map { ", \($0) a second" } ?? ""
        let missing = isCopyRight == nil ? "the copy is not seen, which takes CAP_NET_ADMIN" : "NO COPY"
        let frames = framesCopied.map { "\($0) \($0 == 1 ? "frame" : "frames") copied\(rate)" } ?? missing
        let failed = copiesFailed.map { $0 > 0 ? ", \($0) could not be handed on" : "" } ?? ""
        return "\(isOpen ? "open" : "was open") for \(age), \(frames)\(failed)"
    }

    /// In whole units, as `status` tells an age: two hours are told in hours, less than that in minutes.
    private var age: String {
        let milliseconds = openNanoseconds / 1_000_000
        switch milliseconds {
        case ..<2000: return "\(milliseconds)ms"
        case ..<120_000: return "\(milliseconds / 1000)s"
        case ..<7_200_000: return "\(milliseconds / 60_000)min"
        default: return "\(milliseconds / 3_600_000)h"
        }
    }
}

extension CopyChange {
    /// Makes or removes the copy of a guest's bracket.
    ///
    /// - Parameter specification: what is copied; nil for a removal, which needs no more than whose copy it is.
    package init(
        _ record: GuestRecord, bracket: Bracket? = nil, isOn: Bool, specification: CopySpecification? = nil
    ) {
        let guest = record.guest
        self.init(
            specification: specification
                ?? CopySpecification(
                    source: guest.standby.index, target: guest.firstPort.index,
                    matches: guest.addresses.map { CopySpecification.Match(mac: $0.mac, tag: .any) },
                    number: UInt32(truncatingIfNeeded: record.row), label: guest.id.text),
            bracket: bracket ?? record.bracket ?? Bracket.none, portName: guest.standby.name,
            targetName: guest.firstPort.name, isOn: isOn)
    }
}

extension Bracket {
    /// A bracket that is to be opened now.
    ///
    /// - Parameters:
    ///   - footing: how its copy can be made.
    ///   - now: nanoseconds since 1970 (CLOCK_REALTIME).
    ///   - sharesClsact: another guest's bracket has made the port's clsact, which goes with the last of them.
    package init(_ footing: Copies.Footing, now: Int64, sharesClsact: Bool) {
        self.init(
            openedAt: now, means: footing.means,
            ownsClsact: footing.means == .clsact && (!footing.hasClsact || sharesClsact))
    }

    /// What the operator should know of how its copy is made.
    package func notes(
        _ footing: Copies.Footing, _ guest: GuestInterface, _ observation: Observation
    ) -> [String] {
        let port = guest.standby.name
        var notes: [String] = []
        if footing.foreignFilters > 0 {
            notes.append(
                "\(footing.foreignFilters) filters of others on \(port) come first: what they end is not copied")
        }
        if footing.means == .clsact, !footing.hasClsact {
            notes.append(
                "this kernel's nftables cannot copy at egress: a clsact is made on \(port), and each time that one is "
                    + "made or removed frames of some milliseconds are lost there")
        }
        let flags = [Side.standby, .primary].map { observation.ports[$0]?.bridgePort?.flags ?? [] }
        if observation.bridge?.bridge?.snoopsMulticast == true, flags[0].contains(.multicastFlood),
            !flags[1].contains(.multicastFlood)
        {
            notes.append(
                "\(guest.firstPort.name) has mcast_flood off: multicast that the bridge floods reaches the standby only"
            )
        }
        return notes
    }
}
