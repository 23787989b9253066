import CNetlink
public import FDB
import Netlink

/// A virtual function as its physical function's netdev lists it (IFLA_VF_INFO, `rtnl_fill_vfinfo` in
/// net/core/rtnetlink.c).
public struct VirtualFunction: Hashable, Sendable {
    /// The link state that the VF is shown (`enum` IFLA_VF_LINK_STATE_*).
    public enum LinkState: UInt32, Hashable, Sendable {
        /// The state of the physical link.
        case auto = 0
        /// Up, whatever the state of the physical link.
        case enable = 1
        /// Down, whatever the state of the physical link.
        case disable = 2
    }

    /// The number, from 0.
    public let index: UInt32
    /// The MAC set by the administrator; all zero if none is set.
    public let mac: MACAddress
    /// The VLAN tag that the NIC adds to its frames and removes again; 0 for none.
    public var vlan: UInt16 = 0
    /// The NIC drops frames that the VF sends from other MACs than its own; nil if the driver does not report it.
    public var checksSource: Bool?
    /// The VF may ask for more MACs and for promiscuity; nil if the driver does not report it.
    public var isTrusted: Bool?
    /// The link state that the VF is shown; nil if the driver does not report it.
    public var linkState: LinkState?

    /// The number of frames received; nil if the counters were not requested.
    public var receivedPackets: UInt64?

    /// Makes a function from its parts.
    public init(index: UInt32, mac: MACAddress) {
        self.index = index
        self.mac = mac
    }

    /// Decodes one IFLA_VF_INFO. Each part is a structure that begins with the VF's number.
    init?(_ attribute: Attribute) {
        var found: VirtualFunction?
        // The MAC comes first in the kernel's order, but that is not guaranteed.
        for part in attribute.nested where part.type == Int(IFLA_VF_MAC) {
            let address = MemoryLayout<UInt32>.size
            guard part.bytes.count >= address + 6, let index: UInt32 = part.integer(),
                let mac = MACAddress(octets: UnsafeRawBufferPointer(rebasing: part.bytes[address..<(address + 6)]))
            else { return nil }
            found = VirtualFunction(index: index, mac: mac)
        }
        guard var found else { return nil }
        for part in attribute.nested {
            if part.type == Int(IFLA_VF_STATS) {
                let counter = part.nested.first { $0.type == Int(IFLA_VF_STATS_RX_PACKETS) }
                found.receivedPackets = counter?.integer()
                continue
            }
            // The second word of `struct ifla_vf_vlan`, `ifla_vf_spoofchk`, `ifla_vf_trust`, `ifla_vf_link_state`.
            guard part.bytes.count >= 8 else { continue }
            let setting = part.bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
            // A driver that does not know reports all ones.
            let flag: Bool? = setting == .max ? nil : setting != 0
            switch part.type {
            case Int(IFLA_VF_VLAN): found.vlan = UInt16(truncatingIfNeeded: setting)
            case Int(IFLA_VF_SPOOFCHK): found.checksSource = flag
            case Int(IFLA_VF_TRUST): found.isTrusted = flag
            case Int(IFLA_VF_LINK_STATE): found.linkState = LinkState(rawValue: setting)
            default: break
            }
        }
        self = found
    }
}
