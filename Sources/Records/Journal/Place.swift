import CNetlink
import Glibc
package import Policy
import System

/// Where a guest was prepared, seen from this boot and network namespace.
package enum Place: String, Hashable, Sendable, Encodable, CaseIterable {
    case here
    /// Before the last reboot, which ended all namespaces and emptied all tables.
    case earlierBoot = "earlier_boot"
    /// In a network namespace that is gone with its bridges.
    case goneNamespace = "gone_namespace"
    /// In another network namespace, of which nothing more is known: it may live by a descriptor or a mount that is not seen here.
    case otherNamespace = "other_namespace"

    /// The kernel has nothing of the guest any more.
    package var isVoid: Bool { self == .earlierBoot || self == .goneNamespace }
    /// Why, in words; nil for a guest of here.
    package var words: String? {
        switch self {
        case .here: nil
        case .earlierBoot: "was prepared before the last reboot, which emptied the bridge's table"
        case .goneNamespace: "was prepared in a network namespace that is gone, with its bridge"
        case .otherNamespace: "was prepared in another network namespace"
        }
    }
}

extension Place {
    /// Whether two network namespaces are one: their cookies say so, where both are known, and otherwise their inodes.
    static func isSame(_ one: Int64?, _ other: Int64?, inodes: @autoclosure () -> Bool) -> Bool {
        if let one, let other { one == other } else { inodes() }
    }
}

extension Journal {
    /// Where a guest was prepared.
    package func place(of record: GuestRecord) -> Place {
        guard record.boot == boot else { return .earlierBoot }
        if Place.isSame(record.cookie, cookie, inodes: record.namespace == namespace) { return .here }
        guard let there = record.cookie, cookie != nil else { return .otherNamespace }
        return isGone(inode: record.namespace, cookie: there) ? .goneNamespace : .otherNamespace
    }

    /// Whether it is certain that another network namespace of this boot has gone.
    ///
    /// Its inode is this namespace's own now, or the kernel finds nothing by its handle: that answer counts from Linux 6.18 on,
    /// which finds the own namespace by its handle, and for who may see all namespaces.
    private func isGone(inode: Int64, cookie there: Int64) -> Bool {
        if inode == namespace { return true }
        func find(_ cookie: Int64, _ inode: Int64) -> Int32 {
            cn_find_namespace(UInt64(bitPattern: cookie), UInt32(truncatingIfNeeded: inode))
        }
        guard let cookie, find(cookie, namespace) == 0, Journal.seesAllNamespaces else { return false }
        return find(there, inode) == -ESTALE
    }

    /// The process has CAP_SYS_ADMIN in the initial user namespace (its inode is PROC_USER_INIT_INO, linux/proc_ns.h).
    private static var seesAllNamespaces: Bool {
        var information = stat()
        guard stat("/proc/thread-self/ns/user", &information) == 0, information.st_ino == 0xEFFF_FFFD else {
            return false
        }
        let status = (try? SystemFile.contents(of: "/proc/thread-self/status", limit: 1 << 16)) ?? []
        let line = String(decoding: status, as: UTF8.self).split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        let capabilities = line.flatMap { UInt64($0.split(whereSeparator: \.isWhitespace).last ?? "", radix: 16) } ?? 0
        // CAP_SYS_ADMIN, linux/capability.h.
        return capabilities & 1 << 21 != 0
    }
}
