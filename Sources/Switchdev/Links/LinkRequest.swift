import CNetlink
public import Netlink

/// Reads one link, or all links.
struct LinkGet: Request {
    let index: Int32
    var name: String?
    /// Includes the VFs' counters in the VF list.
    var withFunctionCounters = false

    var type: MessageType { .getLink }
    var flags: MessageFlags { [] }

    func encode(into body: inout MessageBody) {
        var fixed = ifinfomsg()
        fixed.ifi_index = index
        body.put(fixed)
        if withFunctionCounters {
            body.put(Int(IFLA_EXT_MASK), UInt32(RTEXT_FILTER_VF))
        } else {
            body.put(Int(IFLA_EXT_MASK), UInt32(RTEXT_FILTER_VF) | UInt32(RTEXT_FILTER_SKIP_STATS))
        }
        // The kernel looks both attributes up among names and alternative names; the first takes 15 bytes, the other 127
        // (`rtnl_dev_get`).
        if let name { body.put(Int(name.utf8.count < IFNAMSIZ ? IFLA_IFNAME : IFLA_ALT_IFNAME), text: name) }
    }
}

/// Changes one setting of a bridge port (RTM_SETLINK of family AF_BRIDGE, `br_setlink` in net/bridge/br_netlink.c).
public struct PortSettingRequest: Request, Hashable, Sendable {
    private enum Setting: Hashable {
        case flag(Int, Bool)
        case backup(Int32)
    }

    /// Interface index of the port.
    public let port: Int32
    private let setting: Setting

    /// Switches learning on or off: whether source addresses of frames become entries.
    public static func learning(port: Int32, isOn: Bool) -> PortSettingRequest {
        PortSettingRequest(port: port, setting: .flag(Int(IFLA_BRPORT_LEARNING), isOn))
    }

    /// Locks or unlocks the port: a locked one takes frames only from addresses that have their entry on it (`br_handle_frame_finish`,
    /// kernel 5.18).
    public static func locked(port: Int32, isOn: Bool) -> PortSettingRequest {
        PortSettingRequest(port: port, setting: .flag(Int(IFLA_BRPORT_LOCKED), isOn))
    }

    /// Sets the port of the bridge that takes over while this one has no carrier (`nbp_backup_change`, kernel 4.19).
    ///
    /// - Parameters:
    ///   - port: interface index of the port.
    ///   - backup: interface index of the other port; nil for none.
    public static func backup(port: Int32, backup: Int32?) -> PortSettingRequest {
        PortSettingRequest(port: port, setting: .backup(backup ?? 0))
    }

    public var type: MessageType { .setLink }
    public var flags: MessageFlags { [] }

    public func encode(into body: inout MessageBody) {
        var fixed = ifinfomsg()
        fixed.ifi_family = UInt8(AF_BRIDGE)
        fixed.ifi_index = port
        body.put(fixed)
        // The kernel only reads single settings if the attribute is marked as a nest.
        body.nest(Int(IFLA_PROTINFO) | Int(NLA_F_NESTED)) {
            switch setting {
            case .flag(let attribute, let isOn): $0.put(attribute, UInt8(isOn ? 1 : 0))
            case .backup(let index): $0.put(Int(IFLA_BRPORT_BACKUP_PORT), UInt32(bitPattern: index))
            }
        }
    }
}
