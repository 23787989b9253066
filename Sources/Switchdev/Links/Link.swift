import CNetlink
public import FDB
public import Netlink

/// The id that all ports of one switch ASIC or embedded switch share (IFLA_PHYS_SWITCH_ID, up to 32 bytes).
///
/// Both ports of a dual-port mlx5 card report the card's id, so it does not name an eswitch by itself.
public struct SwitchID: Hashable, Sendable, CustomStringConvertible {
    /// The bytes that the driver reports.
    public let bytes: [UInt8]

    /// - Parameter bytes: the bytes that the driver reports.
    public init(bytes: [UInt8]) { self.bytes = bytes }

    /// Hexadecimal, as `ip -d link` prints it.
    public var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

/// A network interface, with its settings as a bridge port or a bridge.
public struct Link: Hashable, Sendable {
    /// Interface index, which names one interface until the next reboot.
    public let index: Int32
    /// Its current name (IFLA_IFNAME).
    public let name: String
    /// The other names that the kernel takes for it (IFLA_PROP_LIST; `rtnl_fill_prop_list`, kernel 5.5).
    public let alternativeNames: [String]
    /// The kind of a software device (IFLA_INFO_KIND): `bridge`, `veth`, `tun`; nil for hardware.
    public let kind: String?
    /// Interface index of the bridge, bond or other master.
    public let master: Int32?
    /// Interface index of the device under it or paired with it (IFLA_LINK): the NIC under a macvtap.
    public let lower: Int32?
    /// The kind of its master (IFLA_INFO_SLAVE_KIND).
    public let portKind: String?
    /// It is administratively up (IFF_UP).
    public let isUp: Bool
    /// The layer below is up (IFF_LOWER_UP, the carrier).
    public let hasCarrier: Bool
    /// Its own MAC; nil if it has none of six octets.
    public let mac: MACAddress?
    /// The largest payload in bytes.
    public let mtu: UInt32
    /// The switch that it is a port of; nil if there is none.
    public let switchID: SwitchID?
    /// The driver's name for the port (`p0`, `pf0vf3`); nil if there is none.
    public let portName: String?
    /// The bus address of the parent device (`0000:03:00.0`); nil if the kernel does not report it.
    public let parentDevice: String?
    /// VFs of a physical function, with their MACs.
    public let virtualFunctions: [VirtualFunction]
    /// How many users, such as bridges and packet sockets, make it promiscuous (IFLA_PROMISCUITY).
    public let promiscuity: UInt32
    /// Its settings as a port of a bridge.
    public let bridgePort: BridgePort?
    /// Its settings as a bridge.
    public let bridge: Bridge?
    /// The VLAN of a VLAN interface (IFLA_VLAN_ID).
    public let vlan: VLANID?

    /// Entries of the port reach hardware, because it has a switch id.
    public var isEswitchPort: Bool { switchID != nil }

    /// Decodes the payload of an RTM_NEWLINK message.
    ///
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public init(decoding payload: UnsafeRawBufferPointer) throws(NetlinkError) {
        let fixed = try Link.fixed(payload)
        var name = ""
        var master: Int32?
        var lower: Int32?
        var mac: MACAddress?
        var mtu: UInt32 = 0
        var promiscuity: UInt32 = 0
        var switchID: SwitchID?
        var portName: String?
        var parent: String?
        var functions: [VirtualFunction] = []
        var alternatives: [String] = []
        var info = Info()
        var attributes = AttributeReader(payload, from: MemoryLayout<ifinfomsg>.size)
        while let attribute = attributes.next() {
            switch attribute.type {
            case Int(IFLA_IFNAME): name = attribute.text
            case Int(IFLA_MASTER): master = attribute.integer()
            case Int(IFLA_LINK): lower = attribute.integer()
            case Int(IFLA_ADDRESS): mac = MACAddress(octets: attribute.bytes)
            case Int(IFLA_MTU): mtu = attribute.integer() ?? 0
            case Int(IFLA_PROMISCUITY): promiscuity = attribute.integer() ?? 0
            case Int(IFLA_PHYS_SWITCH_ID): switchID = SwitchID(bytes: Array(attribute.bytes))
            case Int(IFLA_PHYS_PORT_NAME): portName = attribute.text
            case Int(IFLA_PARENT_DEV_NAME): parent = attribute.text
            case Int(IFLA_VFINFO_LIST): functions = attribute.nested.compactMap(VirtualFunction.init)
            case Int(IFLA_LINKINFO): info = Info(decoding: attribute.nested)
            case Int(IFLA_PROP_LIST):
                alternatives = attribute.nested.compactMap { $0.type == Int(IFLA_ALT_IFNAME) ? $0.text : nil }
            default: break
            }
        }
        if attributes.isMalformed {
            throw NetlinkError(.malformed, "link message with an attribute that does not fit")
        }
        index = fixed.ifi_index
        self.name = name
        self.master = master
        self.lower = lower
        self.mac = mac
        self.mtu = mtu
        self.promiscuity = promiscuity
        self.switchID = switchID
        self.portName = portName
        parentDevice = parent
        virtualFunctions = functions
        alternativeNames = alternatives
        kind = info.kind
        portKind = info.portKind
        bridgePort = info.bridgePort
        bridge = info.bridge
        vlan = info.vlan
        isUp = fixed.ifi_flags & UInt32(IFF_UP) != 0
        hasCarrier = fixed.ifi_flags & UInt32(IFF_LOWER_UP.rawValue) != 0
    }

    /// Whether the kernel takes a name for this interface: its own, or an alternative one.
    public func isCalled(_ name: String) -> Bool { self.name == name || alternativeNames.contains(name) }

    /// The interface index in the payload of a link message.
    ///
    /// - Throws: ``NetlinkError`` of code `malformed` if the payload is too short.
    public static func index(of payload: UnsafeRawBufferPointer) throws(NetlinkError) -> Int32 {
        try fixed(payload).ifi_index
    }

    /// Whether a bridge sent the message about one of its ports (family AF_BRIDGE, `br_fill_ifinfo`). Its settings are in
    /// IFLA_PROTINFO, and a removal only means that the port left the bridge.
    public static func isOfBridgeFamily(_ payload: UnsafeRawBufferPointer) throws(NetlinkError) -> Bool {
        try fixed(payload).ifi_family == UInt8(AF_BRIDGE)
    }

    private static func fixed(_ payload: UnsafeRawBufferPointer) throws(NetlinkError) -> ifinfomsg {
        let size = MemoryLayout<ifinfomsg>.size
        guard payload.count >= size else {
            throw NetlinkError(.malformed, "link message of \(payload.count) bytes where \(size) are the least")
        }
        return payload.loadUnaligned(as: ifinfomsg.self)
    }

    /// IFLA_LINKINFO. The kinds come before the data that they explain.
    private struct Info {
        var kind: String?
        var portKind: String?
        var bridgePort: BridgePort?
        var bridge: Bridge?
        var vlan: VLANID?

        init() {}

        init(decoding attributes: AttributeReader) {
            for attribute in attributes {
                switch attribute.type {
                case Int(IFLA_INFO_KIND): kind = attribute.text
                case Int(IFLA_INFO_SLAVE_KIND): portKind = attribute.text
                case Int(IFLA_INFO_DATA) where kind == "bridge": bridge = Bridge(decoding: attribute.nested)
                case Int(IFLA_INFO_DATA) where kind == "vlan":
                    vlan = attribute.nested.first { $0.type == Int(IFLA_VLAN_ID) }?.integer(as: UInt16.self).flatMap(
                        VLANID.init(rawValue:))
                case Int(IFLA_INFO_SLAVE_DATA) where portKind == "bridge":
                    bridgePort = BridgePort(decoding: attribute.nested)
                default: break
                }
            }
        }
    }
}
