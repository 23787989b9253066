import CNetlink
public import Netlink

/// How an eswitch treats its functions (`enum devlink_eswitch_mode`, linux/devlink.h).
public struct EswitchMode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    public let rawValue: UInt16

    /// - Parameter rawValue: the kernel's number.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// MAC filters of the NIC reach the VFs; there are no representors. The corresponding C constant is
    /// `DEVLINK_ESWITCH_MODE_LEGACY`.
    public static let legacy = EswitchMode(rawValue: UInt16(DEVLINK_ESWITCH_MODE_LEGACY.rawValue))
    /// Each VF has a representor, and the bridge's entries reach hardware. The corresponding C constant is
    /// `DEVLINK_ESWITCH_MODE_SWITCHDEV`.
    public static let switchdev = EswitchMode(rawValue: UInt16(DEVLINK_ESWITCH_MODE_SWITCHDEV.rawValue))

    /// The word that `devlink dev eswitch show` prints.
    public var description: String {
        switch self {
        case .legacy: "legacy"
        case .switchdev: "switchdev"
        default: "mode \(rawValue)"
        }
    }
}

/// What devlink reports about the host's eswitches, read once over generic netlink.
///
/// phys_switch_id alone does not name an eswitch (both ports of a dual-port mlx5 card report the card's id), and the name of
/// a port is not the VF's. devlink links a representor to its device, its function and its VF.
public struct Devlink: Sendable {
    /// All ports, in the kernel's order.
    public let ports: [DevlinkPort]
    /// The devices that have an eswitch, each with its mode.
    public let modes: [DevlinkHandle: EswitchMode]
    private let byInterface: [Int32: Int]

    /// - Parameters:
    ///   - ports: all ports.
    ///   - modes: the eswitch modes by device.
    public init(ports: [DevlinkPort] = [], modes: [DevlinkHandle: EswitchMode] = [:]) {
        self.ports = ports
        self.modes = modes
        byInterface = Dictionary(
            ports.enumerated().compactMap { index, port in port.interface.map { ($0, index) } }
        ) { $1 }
    }

    /// Reads ports and eswitch modes; empty on a kernel without devlink.
    ///
    /// - Throws: ``NetlinkError`` if the kernel's answers are lost.
    public static func snapshot() throws(NetlinkError) -> Devlink {
        var socket = try CommandSocket(.generic)
        guard let family = try socket.family(named: DEVLINK_GENL_NAME) else { return Devlink() }
        var ports: [DevlinkPort] = []
        try socket.dump(GenericRequest(family: family, command: UInt8(DEVLINK_CMD_PORT_GET.rawValue))) {
            (header, payload) throws(NetlinkError) in
            if header.type == family, let port = try DevlinkPort(decoding: payload) { ports.append(port) }
        }
        let handles = Array(Set(ports.map(\.handle)))
        var modes: [DevlinkHandle: EswitchMode] = [:]
        let requests = handles.map { handle in
            GenericRequest(family: family, command: UInt8(DEVLINK_CMD_ESWITCH_GET.rawValue)) {
                $0.put(Int(DEVLINK_ATTR_BUS_NAME.rawValue), text: handle.bus)
                $0.put(Int(DEVLINK_ATTR_DEV_NAME.rawValue), text: handle.device)
            }
        }
        try socket.get(requests) { (index, reply) throws(NetlinkError) in
            // A device without an eswitch answers EOPNOTSUPP, and an unprivileged caller gets EPERM: there is no mode then.
            guard case .success(let (_, payload)) = reply else { return }
            for attribute in AttributeReader(payload, from: GenericRequest.headerSize)
            where attribute.type == Int(DEVLINK_ATTR_ESWITCH_MODE.rawValue) {
                modes[handles[index]] = attribute.integer(as: UInt16.self).map(EswitchMode.init)
            }
        }
        return Devlink(ports: ports, modes: modes)
    }

    /// The devlink port of a netdev.
    public subscript(interface index: Int32) -> DevlinkPort? { byInterface[index].map { ports[$0] } }

    /// The mode of the eswitch that a port belongs to; nil if it is not known.
    public func mode(of port: DevlinkPort) -> EswitchMode? { modes[port.handle] }

    /// The representor of a VF on this host.
    ///
    /// - Parameters:
    ///   - vf: the VF's number.
    ///   - handle: the physical function's device.
    public func representor(ofVF vf: UInt16, at handle: DevlinkHandle) -> DevlinkPort? {
        ports.first { $0.handle == handle && $0.flavour == .pciVF && $0.vf == vf && !$0.isExternal }
    }
}
