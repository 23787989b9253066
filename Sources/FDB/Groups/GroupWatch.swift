import Glibc
public import Netlink
import System

/// The multicast groups of bridges, kept from one look to the next by what the kernel tells of their changes (RTNLGRP_MDB).
///
/// A dump of groups is of all bridges, so that each look would cost by everything on the host. Here a bridge is dumped when
/// it is first asked for, and again after notifications were lost or not understood, after one that does not say enough,
/// and for ports about which not all is told (``KeptGroups``).
///
/// It hears of the network namespace of the thread that made it. What was told waits in the socket until it is used or
/// ``hear()`` is called; when more comes than the socket holds, that is a loss.
public struct GroupWatch: ~Copyable {
    private let monitor: MonitorSocket
    private var kept: [KeptGroups] = []
    /// Bridges whose groups were thrown away since ``hear()`` said so, and not read again.
    private var forgotten: [Int32] = []
    /// How often the groups were dumped.
    public private(set) var dumps = 0

    /// Dumps before a restless table is taken as it comes.
    private static let dumpLimit = 8

    /// - Parameter receiveBuffer: bytes to ask for, 832 for each notification that is to wait.
    /// - Throws: ``NetlinkError`` of code `system`.
    public init(receiveBuffer: Int32 = 8 << 20) throws(NetlinkError) {
        monitor = try MonitorSocket(groups: [.mdb], receiveBuffer: receiveBuffer)
    }

    /// For poll(2): readable when something was told.
    public var descriptor: Int32 { monitor.descriptor }

    /// The groups of a bridge are kept.
    public func keeps(_ bridge: Int32) -> Bool { kept.contains { $0.bridge == bridge } }

    /// Takes over what was told until now.
    ///
    /// - Returns: false when groups that were kept are no longer, since the last call.
    /// - Throws: ``NetlinkError`` of code `system`.
    public mutating func hear() throws(NetlinkError) -> Bool {
        _ = try hear(about: nil)
        defer { forgotten = [] }
        return forgotten.isEmpty
    }

    /// The memberships of some ports of a bridge, and the routers behind them.
    ///
    /// - Parameters:
    ///   - bridge: the bridge's interface index.
    ///   - ports: interface indexes of ports of it; not the bridge's own.
    ///   - socket: in the bridge's namespace.
    /// - Throws: ``NetlinkError``: `refused` with EOPNOTSUPP by a kernel without snooping; `interrupted`, `overrun` or
    ///   `malformed` when no dump could be trusted.
    /// - Complexity: by what was told since the last call and by the memberships of `ports`. Where they are not kept: one
    ///   dump of the groups of all bridges, two where they do not fit one message (about 500 memberships).
    public mutating func groups(
        of bridge: Int32, on ports: [Int32], using socket: inout CommandSocket
    ) throws(NetlinkError) -> GroupTable {
        _ = try hear(about: nil)
        for groups in kept where groups.bridge == bridge {
            if let table = groups.table(of: ports, at: monotonicNanoseconds()) { return table }
        }
        return try read(bridge, on: ports, using: &socket)
    }

    /// Reads the groups of a bridge, and keeps them when they were not disturbed.
    ///
    /// - Parameter ports: which to return; nil for all.
    mutating func read(
        _ bridge: Int32, on ports: [Int32]?, using socket: inout CommandSocket
    ) throws(NetlinkError) -> GroupTable {
        kept.removeAll { $0.bridge == bridge }
        // What was told before the dump is older.
        _ = try hear(about: nil)
        var last: GroupDump?
        for attempt in 1...GroupWatch.dumpLimit {
            let begin = monotonicNanoseconds()
            var dump: GroupDump
            do throws(NetlinkError) {
                dumps += 1
                dump = try GroupDump(of: bridge, using: &socket)
            } catch {
                // NLM_F_DUMP_INTR tells of devices that come and go only.
                guard error.code == .interrupted, attempt < GroupWatch.dumpLimit else { throw error }
                continue
            }
            let heard = try hear(about: bridge)
            // Of several parts the removal of a membership may make others be skipped; and groups that removals leave empty are
            // removed by a timer, of which nobody is told (`br_multicast_group_expired`). So two must agree as well.
            if dump.parts <= 1 || !heard.hasGap && dump.agrees(with: last) {
                if !heard.isLost { keep(bridge, dump, heard.changes, at: begin) }
                return GroupWatch.table(bridge, dump, ports, isExact: true)
            }
            if attempt == GroupWatch.dumpLimit { dump.join(last) }
            last = dump
        }
        guard let last else { return GroupTable(bridge: bridge, entries: [], isExact: false) }
        return GroupWatch.table(bridge, last, ports, isExact: false)
    }

    private static func table(_ bridge: Int32, _ dump: GroupDump, _ ports: [Int32]?, isExact: Bool) -> GroupTable {
        guard let ports else {
            return GroupTable(bridge: bridge, entries: dump.entries, routers: dump.routers, isExact: isExact)
        }
        return GroupTable(
            bridge: bridge, entries: dump.entries.filter { ports.contains($0.port) },
            routers: dump.routers.filter { ports.contains($0.port) }, isExact: isExact)
    }

    /// - Parameter changes: what was told since the dump began, some of which it shows already.
    private mutating func keep(_ bridge: Int32, _ dump: GroupDump, _ changes: [GroupChange], at begin: Int64) {
        var groups = KeptGroups(bridge: bridge, entries: dump.entries, routers: dump.routers, readAt: begin)
        for change in changes where !groups.apply(change) { return }
        kept.append(groups)
        forgotten.removeAll { $0 == bridge }
    }

    /// What was told.
    private struct Heard {
        /// Of the bridge that was asked about.
        var changes: [GroupChange] = []
        /// Not all was told.
        var isLost = false

        /// Something was removed, or may have been.
        var hasGap: Bool { isLost || changes.contains(where: \.isRemoval) }
    }

    /// Takes over everything that waits in the socket.
    ///
    /// - Parameter bridge: a bridge that is not kept, whose changes are returned.
    private mutating func hear(about bridge: Int32?) throws(NetlinkError) -> Heard {
        var heard = Heard()
        while true {
            do throws(NetlinkError) {
                let isMore = try monitor.receive { (header, payload) throws(NetlinkError) in
                    guard header.type == .newGroup || header.type == .deleteGroup else { return }
                    let subject = try GroupMessage.bridge(of: payload)
                    let place = kept.firstIndex { $0.bridge == subject }
                    guard place != nil || subject == bridge else { return }
                    for change in try GroupChange.changes(header, payload) {
                        if subject == bridge { heard.changes.append(change) }
                        guard let place, !kept[place].apply(change) else { continue }
                        kept.remove(at: place)
                        forgotten.append(subject)
                        return
                    }
                }
                if !isMore { return heard }
            } catch {
                // It may have been about any bridge.
                forgotten += kept.map(\.bridge)
                kept = []
                heard.isLost = true
                guard [.overrun, .malformed, .truncated].contains(error.code) else { throw error }
            }
        }
    }
}
