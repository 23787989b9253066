import CNetlink
import Netlink

/// One kernel dump of a bridge's groups (`br_mdb_dump` in net/bridge/br_mdb.c).
///
/// A dump covers the groups of all bridges and has no filter. A part that fits one message is consistent, because the
/// kernel reads it under RCU in one go. Further parts resume by position: if a group vanishes meanwhile, others are
/// skipped.
struct GroupDump {
    private(set) var entries: [GroupEntry] = []
    private(set) var routers: [RouterPort] = []
    private(set) var parts = 0

    init(of bridge: Int32, using socket: inout CommandSocket) throws(NetlinkError) {
        try socket.dump(Demand()) { (header, payload) throws(NetlinkError) in
            guard header.type == .getGroup || header.type == .newGroup,
                try GroupMessage.bridge(of: payload) == bridge
            else { return }
            let message = try GroupMessage(decoding: payload)
            parts += 1
            entries += message.entries
            routers += message.routers
        }
    }

    /// Whether another dump shows the same memberships. Timers are ignored, because they always differ.
    func agrees(with other: GroupDump?) -> Bool {
        guard let other else { return false }
        return entries.count == other.entries.count
            && zip(entries, other.entries).allSatisfy { $0.member == $1.member }
    }

    /// Adds memberships of an earlier dump that this one may have skipped.
    mutating func join(_ other: GroupDump?) {
        guard let other else { return }
        let own = Set(entries.map(\.member))
        entries += other.entries.filter { !own.contains($0.member) }
    }

    /// RTM_GETMDB. Strict checking refuses an interface index in it.
    private struct Demand: Request {
        var type: MessageType { .getGroup }
        var flags: MessageFlags { [] }

        func encode(into body: inout MessageBody) {
            body.put(GroupHeader(bridge: 0))
        }
    }
}

private struct GroupMember: Hashable {
    let port: Int32
    let key: GroupKey
    let state: GroupState
}

extension GroupEntry {
    fileprivate var member: GroupMember { GroupMember(port: port, key: key, state: state) }
}
