import CNetlink
import Glibc
import Policy
import Records
import System

/// How a guest is, in one word; the worst first.
package enum Health: String, Hashable, Sendable, Encodable, CaseIterable {
    /// It is not as intended.
    case problem
    /// The process of a redirection died.
    case interrupted
    /// It is as intended, and its next redirection would fail, or what the daemon has found cannot be read.
    case warning
    /// Something is under way, or a bracket is open.
    case underWay = "under_way"
    /// It was prepared in another network namespace: nothing is known of it here.
    case elsewhere
    /// The kernel has nothing of it any more.
    case void
    /// As intended.
    case ok
}

/// A network namespace.
package struct NamespaceView: Hashable, Sendable, Encodable {
    /// The inode, as `ls -l /proc/PID/ns/net` shows it.
    package let inode: Int64
    /// Its cookie (SO_NETNS_COOKIE); nil before Linux 5.14.
    package let cookie: Int64?
    /// The name that `ip netns` has for it (a file of /run/netns).
    package let name: String?

    init(inode: Int64, cookie: Int64?) {
        self.inode = inode
        self.cookie = cookie
        name = NamespaceView.names[inode]
    }

    private static let names: [Int64: String] = {
        var names: [Int64: String] = [:]
        guard let folder = opendir("/run/netns") else { return names }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            var information = stat()
            guard !name.hasPrefix("."), stat("/run/netns/\(name)", &information) == 0 else { continue }
            names[Int64(information.st_ino)] = name
        }
        return names
    }()
}

extension Health {
    /// Whether a guest is listed before another one: the worst first, and by name among equals.
    package static func isBefore(_ one: (Health, guest: String), _ other: (Health, guest: String)) -> Bool {
        let order = Health.allCases
        let (rank, others) = (order.firstIndex(of: one.0) ?? 0, order.firstIndex(of: other.0) ?? 0)
        return rank != others ? rank < others : NaturalOrder.isBefore(one.guest, other.guest)
    }
}

extension GuestStatus {
    /// Whether it is listed before another guest (``Health/isBefore(_:_:)``).
    package func isBefore(_ other: GuestStatus) -> Bool {
        Health.isBefore((health, guest: guest), (other.health, guest: other.guest))
    }

    /// What is known of it, in one word and one command.
    func verdict() -> (Health, next: String?) {
        switch place {
        case .here: break
        case .earlierBoot, .goneNamespace: return (.void, "fdbsteer release \(guest)")
        case .otherNamespace:
            let name = namespace.name.map { "ip netns exec \($0) fdbsteer status \(guest)" }
            return (
                .elsewhere, name ?? "nsenter --net=FILE fdbsteer status \(guest), or fdbsteer release \(guest) --forget"
            )
        }
        if phase != "pinned", phase != "bracketed", !running { return (.interrupted, "fdbsteer abort \(guest)") }
        if let problem = problems?.first { return (.problem, problem.remedy) }
        if let condition = conditions?.first(where: { $0.severity == .problem }) { return (.problem, condition.remedy) }
        if let bracket, phase == "bracketed" {
            return (
                .underWay, "fdbsteer switch \(guest) --to \(bracket.goal.rawValue) --close, once the guest is there"
            )
        }
        if phase != "pinned" { return (.underWay, nil) }
        if let condition = conditions?.first(where: { $0.severity == .warning }) { return (.warning, condition.remedy) }
        return (.ok, nil)
    }

    /// Who is going to close a bracket, and when.
    ///
    /// - Parameter record: its record.
    func closer(of record: GuestRecord, _ daemon: DaemonKnowledge?) -> String? {
        guard phase == "bracketed" else { return nil }
        if let wait {
            return "\(wait.process) closes it with \(wait.signals.joined(separator: " or "))"
        }
        guard let daemon else { return "nobody closes it by itself: fdbsteerd does not run" }
        let process = "fdbsteerd" + (daemon.process.map { " (process \($0.pid))" } ?? "")
        if daemon.fault != nil { return "perhaps \(process): what it has found, and whom it follows, cannot be read" }
        if daemon.followed.contains(guest) {
            if daemon.conditions.contains(where: {
                $0.row == record.row && $0.condition.code == Condition.monitorSilent
            }) {
                return "nobody closes it while QEMU's monitor is not heard"
            }
            return "\(process) closes it by QEMU's events, or when the guest uses its primary"
        }
        if record.isBracketForCarrier {
            return
                "\(process) closes it on the primary when that has carrier again, on the standby when the primary goes"
        }
        return "nobody closes it by itself: \(process) does not follow this guest"
    }
}
