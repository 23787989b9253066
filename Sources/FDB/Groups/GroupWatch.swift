import Glibc
public import Netlink
import System

/// The multicast groups of bridges, kept from one look to the next by applying the kernel's notifications (RTNLGRP_MDB).
///
/// A dump of groups covers all bridges, so its cost depends on everything on the host. A bridge is dumped when it is
/// first asked for. It is dumped again after notifications were lost or not understood, after a notification that does
/// not say enough, and for ports whose changes the kernel does not fully announce (``KeptGroups``).
///
/// The watch covers the network namespace of the thread that made it. Notifications wait in the socket until they are
/// used or ``hear()`` is called; if more arrive than the socket holds, they are lost.
public struct GroupWatch: ~Copyable {
    private let monitor: MonitorSocket
    private var kept: [KeptGroups] = []
    /// Bridges whose groups were discarded since ``hear()`` last reported that, and were not read again.
    private var forgotten: [Int32] = []
    /// The number of dumps made.
    public private(set) var dumps = 0

    /// After this many dumps a table that keeps changing is accepted as it is.
    private static let dumpLimit = 8

    /// - Parameter receiveBuffer: the size to ask for in bytes: 832 for each notification that has to wait.
    /// - Throws: ``NetlinkError`` of code `system`.
    public init(receiveBuffer: Int32 = 8 << 20) throws(NetlinkError) {
        monitor = try MonitorSocket(groups: [.mdb], receiveBuffer: receiveBuffer)
    }

    /// For poll(2): readable when notifications are waiting.
    public var descriptor: Int32 { monitor.descriptor }

    /// Whether the groups of a bridge are kept.
    public func keeps(_ bridge: Int32) -> Bool { kept.contains { $0.bridge == bridge } }

    /// Applies all waiting notifications.
    ///
    /// - Returns: false if groups that were kept have been discarded since the last call.
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
    ///   - ports: interface indexes of the bridge's ports, without the bridge itself.
    ///   - socket: in the bridge's namespace.
    /// - Throws: ``NetlinkError``: `refused` with EOPNOTSUPP from a kernel without snooping; `interrupted`, `overrun` or
    ///   `malformed` if no dump could be trusted.
    /// - Complexity: depends on the notifications since the last call and on the memberships of `ports`. If they are not
    ///   kept: one dump of the groups of all bridges, two if they do not fit one message (about 500 memberships).
    public mutating func groups(
        of bridge: Int32, on ports: [Int32], using socket: inout CommandSocket
    ) throws(NetlinkError) -> GroupTable {
        _ = try hear(about: nil)
        for groups in kept where groups.bridge == bridge {
            if let table = groups.table(of: ports, at: monotonicNanoseconds()) { return table }
        }
        return try read(bridge, on: ports, using: &socket)
    }

    /// Reads the groups of a bridge, and keeps them if nothing disturbed the dump.
    ///
    /// - Parameter ports: the ports to return; nil for all.
    mutating func read(
        _ bridge: Int32, on ports: [Int32]?, using socket: inout CommandSocket
    ) throws(NetlinkError) -> GroupTable {
        kept.removeAll { $0.bridge == bridge }
        // Notifications from before the dump are already in it.
        _ = try hear(about: nil)
        var last: GroupDump?
        for attempt in 1...GroupWatch.dumpLimit {
            let begin = monotonicNanoseconds()
            var dump: GroupDump
            do throws(NetlinkError) {
                dumps += 1
                dump = try GroupDump(of: bridge, using: &socket)
            } catch {
                // NLM_F_DUMP_INTR only reports devices that were added or removed.
                guard error.code == .interrupted, attempt < GroupWatch.dumpLimit else { throw error }
                continue
            }
            let heard = try hear(about: bridge)
            // In a multi-part dump, a removal can make the kernel skip other entries, and it drops empty groups by a timer
            // without notifying (`br_multicast_group_expired`). Two dumps must therefore agree as well.
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

    /// - Parameter changes: notifications received since the dump began; the dump may already include some of them.
    private mutating func keep(_ bridge: Int32, _ dump: GroupDump, _ changes: [GroupChange], at begin: Int64) {
        var groups = KeptGroups(bridge: bridge, entries: dump.entries, routers: dump.routers, readAt: begin)
        for change in changes where !groups.apply(change) { return }
        kept.append(groups)
        forgotten.removeAll { $0 == bridge }
    }

    /// The notifications that were read.
    private struct Heard {
        /// Changes of the bridge in question.
        var changes: [GroupChange] = []
        /// Notifications were lost.
        var isLost = false

        /// Something was removed, or may have been.
        var hasGap: Bool { isLost || changes.contains(where: \.isRemoval) }
    }

    /// Applies everything that waits in the socket.
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
                // A lost notification may have concerned any bridge.
                forgotten += kept.map(\.bridge)
                kept = []
                heard.isLost = true
                guard [.overrun, .malformed, .truncated].contains(error.code) else { throw error }
            }
        }
    }
}
