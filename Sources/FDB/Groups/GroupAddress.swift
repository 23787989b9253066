import CNetlink
import Glibc

/// An IPv4 or IPv6 address, in network byte order.
public struct IPAddress: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Four octets for IPv4, sixteen for IPv6.
    public let octets: [UInt8]

    /// - Returns: nil unless there are four or sixteen octets.
    public init?(octets: some Sequence<UInt8>) {
        let octets = Array(octets)
        guard octets.count == 4 || octets.count == 16 else { return nil }
        self.octets = octets
    }

    /// Parses `192.0.2.1` or `2001:db8::1`.
    public init?(_ text: String) {
        var octets = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET6, text, &octets) == 1 {
            self.octets = octets
        } else if inet_pton(AF_INET, text, &octets) == 1 {
            self.octets = Array(octets.prefix(4))
        } else {
            return nil
        }
    }

    /// The address has sixteen octets.
    public var isIPv6: Bool { octets.count == 16 }

    /// The address is in 224.0.0.0/4 or ff00::/8.
    public var isMulticast: Bool { isIPv6 ? octets[0] == 0xff : octets[0] & 0xf0 == 0xe0 }

    /// The unspecified address, all zero.
    public var isUnspecified: Bool { octets.allSatisfy { $0 == 0 } }

    /// An interface that others reach may have it: it is no group, no broadcast, not unspecified, and not of 127.0.0.0/8 or ::1.
    public var isOfAnInterface: Bool {
        if isUnspecified || isMulticast { return false }
        if isIPv6 { return octets.last != 1 || octets.dropLast().contains { $0 != 0 } }
        return octets[0] != 127 && !octets.allSatisfy { $0 == 0xff }
    }

    /// Sorts IPv4 first, then by the octets.
    public static func < (left: IPAddress, right: IPAddress) -> Bool {
        if left.octets.count != right.octets.count { return left.octets.count < right.octets.count }
        return left.octets.lexicographicallyPrecedes(right.octets)
    }

    /// The form that inet_ntop(3) writes.
    public var description: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        let family = isIPv6 ? AF_INET6 : AF_INET
        guard inet_ntop(family, octets, &text, socklen_t(text.count)) != nil else { return "?" }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// The address of a multicast group as a bridge keeps it: an IP address, or a MAC for groups that are not IP groups.
public enum GroupAddress: Hashable, Sendable, CustomStringConvertible {
    /// An IPv4 or IPv6 multicast address; its frames are recognised by the IP header.
    case ip(IPAddress)
    /// A multicast MAC; the kernel only accepts permanent memberships (`br_mdb_add`, net/bridge/br_mdb.c).
    case mac(MACAddress)

    /// Parses an address; nil if it is not a group.
    public init?(_ text: String) {
        if let ip = IPAddress(text) {
            guard ip.isMulticast else { return nil }
            self = .ip(ip)
        } else if let mac = MACAddress(text), mac.isMulticast {
            self = .mac(mac)
        } else {
            return nil
        }
    }

    public var description: String {
        switch self {
        case .ip(let address): address.description
        case .mac(let address): address.description
        }
    }
}

/// The key of a bridge's multicast database: a group, the source it is restricted to, and the VLAN (`struct br_ip`).
public struct GroupKey: Hashable, Sendable, CustomStringConvertible {
    /// The group.
    public let group: GroupAddress
    /// The single source of an (S,G) entry; nil for (\*,G).
    public let source: IPAddress?
    /// nil: the bridge does not filter VLANs.
    public let vlan: VLANID?

    /// Makes a key from its fields.
    public init(_ group: GroupAddress, source: IPAddress? = nil, vlan: VLANID? = nil) {
        self.group = group
        self.source = source
        self.vlan = vlan
    }

    /// The (\*,G) that an (S,G) belongs to.
    public var anySource: GroupKey { GroupKey(group, vlan: vlan) }

    /// The key as `bridge mdb show` prints it: `239.1.1.1 src 192.0.2.1 vid 7`.
    public var description: String {
        "\(group)" + (source.map { " src \($0)" } ?? "") + (vlan.map { " vid \($0)" } ?? "")
    }
}
