import FDB
import Glibc
import Netlink
package import Policy
import Switchdev
import System

/// Hears on which ports a bridge's addresses are, of any bridge, prepared or not. It changes nothing and needs no privilege.
package struct MoveWatch: ~Copyable {
    /// What was heard so far.
    package private(set) var moves: Moves
    /// How often the kernel dropped notifications: the counts are minima then.
    package private(set) var overruns = 0
    private let monitor: MonitorSocket
    /// The one bridge that is watched; nil for all.
    private let only: String?
    private var bridges: [Int32: String]
    private var names: [Int32: String]

    /// Notifications that can wait for the reader: 832 bytes each. Without privilege net.core.rmem_max is the limit.
    private static let receiveBuffer: Int32 = 128 << 20

    /// Subscribes, then reads the tables.
    ///
    /// - Parameter bridge: one bridge's name; nil for all.
    /// - Throws: ``ControllerError`` of code `precondition` when there is no such bridge, or it cannot be read.
    package init(bridge: String?, on host: inout Host) throws(ControllerError) {
        let monitor: MonitorSocket
        do throws(NetlinkError) {
            monitor = try MonitorSocket(groups: [.neighbour, .link], receiveBuffer: MoveWatch.receiveBuffer)
        } catch {
            throw ControllerError(.precondition, "cannot hear the kernel's notifications", cause: error)
        }
        let links = try host.kernel.links()
        let found = try MoveWatch.bridges(links, named: bridge)
        var moves = Moves()
        let now = Stopwatch.realTime
        for bridge in found {
            for entry in try MoveWatch.table(of: bridge.index, on: &host) { moves.know(entry, at: now) }
        }
        self.monitor = monitor
        self.moves = moves
        only = bridge
        bridges = Dictionary(uniqueKeysWithValues: found.map { ($0.index, $0.name) })
        names = Dictionary(uniqueKeysWithValues: links.all.map { ($0.index, $0.name) })
    }

    /// One bridge, or all.
    private static func bridges(_ links: Links, named name: String?) throws(ControllerError) -> [Link] {
        let found = links.bridges.filter { bridge in name.map(bridge.isCalled) ?? true }
        if !found.isEmpty { return found }
        let all = links.bridges.map(\.name)
        let there = all.isEmpty ? "there is none in this network namespace" : "there are \(all.joined(separator: ", "))"
        throw ControllerError(
            .precondition, name.map { "\($0): there is no bridge of that name" } ?? "there is no bridge",
            remedy: (name.flatMap { Nearest.question(to: $0, in: all) }.map { $0 + " " } ?? "") + there)
    }

    /// For poll(2).
    package var descriptor: Int32 { monitor.descriptor }

    /// The bridges' names, sorted.
    package var bridgeNames: [String] { bridges.values.sorted() }

    /// Hears what waits, at most a few thousand notifications.
    ///
    /// - Returns: whether notifications were lost, so that the tables were read again; bridges that have come and are watched from now
    ///   on; and whether more may wait.
    /// - Throws: ``ControllerError`` of code `precondition`.
    package mutating func hear(
        on host: inout Host, _ body: (Moves.Event) -> Void
    ) throws(ControllerError) -> (isLost: Bool, new: [String], isMore: Bool) {
        var (isLost, isMore) = (false, true)
        var new: [Int32: String] = [:]
        for _ in 0..<4096 where isMore {
            let now = Stopwatch.realTime
            do throws(NetlinkError) {
                let more = try monitor.receive { (header, payload) throws(NetlinkError) in
                    guard let change = try FDBMonitor.change(header, payload) else {
                        if let bridge = try newcomer(header, payload) { new[bridge.index] = bridge.name }
                        return
                    }
                    guard let bridge = change.entry.bridge, bridges[bridge] != nil || new[bridge] != nil else { return }
                    if let event = moves.take(change.entry, isRemoval: change.isRemoval, at: now) { body(event) }
                }
                if !more { isMore = false }
            } catch {
                guard error.code == .overrun else {
                    throw ControllerError(.precondition, "cannot hear the kernel's notifications", cause: error)
                }
                overruns += 1
                isLost = true
            }
        }
        if isLost, let links = try? host.kernel.links(), let found = try? MoveWatch.bridges(links, named: only) {
            for bridge in found where bridges[bridge.index] == nil { new[bridge.index] = bridge.name }
        }
        for (index, name) in new {
            bridges[index] = name
            // What was heard of already is known already.
            let entries = (try? MoveWatch.table(of: index, on: &host)) ?? []
            for entry in entries { moves.know(entry, at: Stopwatch.realTime) }
        }
        guard isLost else { return (false, new.values.sorted(), isMore) }
        for index in bridges.keys {
            // A bridge that is gone has no table.
            guard let entries = try? MoveWatch.table(of: index, on: &host) else { continue }
            for event in moves.reread(entries, bridge: index, at: Stopwatch.realTime) { body(event) }
        }
        return (true, new.values.sorted(), isMore)
    }

    /// A bridge of which a notification tells, that is to be watched and is not yet.
    private func newcomer(
        _ header: MessageHeader, _ payload: UnsafeRawBufferPointer
    ) throws(NetlinkError) -> Link? {
        guard let change = try LinkChange(header, payload), !change.isRemoval, !change.isOfPort,
            bridges[change.index] == nil
        else { return nil }
        let link = try Link(decoding: payload)
        return link.kind == "bridge" && only.map(link.isCalled) ?? true ? link : nil
    }

    private static func table(of bridge: Int32, on host: inout Host) throws(ControllerError) -> [Entry] {
        var entries: [Entry] = []
        try ControllerError.reading("the entries of bridge \(bridge)") { () throws(NetlinkError) in
            try Table.scan(bridge: bridge, using: &host.kernel.socket) { entries.append($0) }
        }
        return entries
    }

    /// The name of an interface, the last known where it is gone.
    package mutating func name(_ index: Int32) -> String {
        var buffer = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
        if if_indextoname(UInt32(bitPattern: index), &buffer) != nil {
            names[index] = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
        return names[index] ?? "ifindex \(index)"
    }
}
