public import FDB

/// Who may send from a guest's addresses on its bridge, by nftables before the bridge learns (``SourceGuardTable``).
public struct SourceGuard: Hashable, Sendable {
    /// A port, or the bridge.
    public struct Port: Hashable, Sendable {
        /// Its interface index.
        public let index: Int32
        /// Its name.
        public let name: String

        /// Makes one from its parts.
        public init(index: Int32, name: String) {
            self.index = index
            self.name = name
        }
    }

    /// The bridge.
    public let bridge: Port
    /// Frames belong to VLANs there.
    public let filtersVLANs: Bool
    /// The type of the bridge's tags: 0x8100 (IEEE 802.1Q) or 0x88a8 (802.1ad). What has another is untagged to the bridge.
    public let tagType: UInt16
    /// The VLAN of what a port that was not known receives without a tag; 0 for none.
    public let defaultPVID: UInt16
    /// The guest's name.
    public let guest: String
    /// The addresses.
    public let addresses: [Address]
    /// The guest's own ports.
    public let ports: [Port]
    /// Ports from which any address may come.
    public let fabric: Set<Int32>
    /// The VLANs of what known ports receive without a tag; 0 for none. Only where the bridge filters VLANs.
    public var pvids: [Int32: UInt16]
    /// The ports that are shut to the guest's MACs while it is on another host; nil for none.
    public var gate: Gate?

    /// Ports that are shut, now or at times, to frames from some MACs.
    public struct Gate: Hashable, Sendable {
        /// Interface indexes.
        public let ports: [Int32]
        /// The MACs.
        public let macs: [MACAddress]

        /// Makes one from its parts.
        public init(ports: [Int32], macs: [MACAddress]) {
            self.ports = ports
            self.macs = macs
        }
    }

    /// Makes a guard from its parts.
    public init(
        bridge: Port, filtersVLANs: Bool, tagType: UInt16 = 0x8100, defaultPVID: UInt16 = 0, guest: String,
        addresses: [Address], ports: [Port], fabric: Set<Int32> = [], pvids: [Int32: UInt16] = [:]
    ) {
        self.bridge = bridge
        self.filtersVLANs = filtersVLANs
        self.tagType = tagType
        self.defaultPVID = defaultPVID
        self.guest = guest
        self.addresses = addresses
        self.ports = ports
        self.fabric = fabric
        self.pvids = pvids
    }

    /// The table of a bridge, which has the same name when the bridge is renamed.
    public static func table(ofBridge index: Int32) -> String { "fdbsteer-guard-\(index)" }

    /// The guest's chain. A guest's name may have a colon, which nft(8) cannot read back, and never a slash.
    public static func chain(of guest: String) -> String { "guest-" + guest.replacing(":", with: "/") }
    var chain: String { SourceGuard.chain(of: guest) }

    /// Kinds of devices behind which other hosts are (IFLA_INFO_KIND).
    public static let fabricKinds: [String] = [
        "bond", "team", "vlan", "vxlan", "geneve", "gretap", "ip6gretap", "batadv", "l2tpeth", "macsec", "hsr",
    ]
}

extension SourceGuard {
    /// The ports of all bridges from which any address may come to a bridge's guests: its NICs, and the ports of other bridges.
    ///
    /// Neighbours are behind taps, veths, and representors of VFs and subfunctions.
    public static func fabric(of bridge: Int32, _ links: Links) -> Set<Int32> {
        Set(
            links.all.filter { link in
                guard link.portKind == "bridge" else { return false }
                if link.master != bridge { return true }
                if let kind = link.kind { return fabricKinds.contains(kind) }
                return !isFunction(link.portName ?? "")
            }.map(\.index))
    }

    /// `pf0vf3`, `c1pf0sf7`: devlink's names of the ports of functions (`devlink_nl_port_fill`, `phys_port_name`).
    private static func isFunction(_ portName: String) -> Bool { portName.contains("vf") || portName.contains("sf") }
}

/// A port that has sent from an address of another's guest.
public struct RefusedSource: Hashable, Sendable {
    /// Interface index of the port.
    public let port: Int32
    /// The address.
    public let mac: MACAddress
    /// How many frames were dropped within the last hour of such frames.
    public let frames: UInt64
}
