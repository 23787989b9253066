package import Switchdev

/// A setting of a bridge port that a plan changes.
public enum PortSetting: Hashable, Sendable {
    /// Whether source addresses of frames become entries.
    case learning(isOn: Bool)
    /// The port that takes over frames of entries on this port while it has no carrier; nil for none.
    ///
    /// Software's safety net: drivers are not told of it, and it ends with the entries, when the port leaves the bridge.
    case backup(from: PortIdentity?, to: PortIdentity?)

    /// Puts back what it was.
    package var inverse: PortSetting {
        switch self {
        case .learning(let isOn): .learning(isOn: !isOn)
        case .backup(let from, let to): .backup(from: to, to: from)
        }
    }

    /// The netlink message.
    package func request(port: PortIdentity) -> PortSettingRequest {
        switch self {
        case .learning(let isOn): .learning(port: port.index, isOn: isOn)
        case .backup(_, let to): .backup(port: port.index, backup: to?.index)
        }
    }

    /// What is done, in words.
    package func words(port: String) -> String {
        switch self {
        case .learning(let isOn): "switch learning \(isOn ? "on" : "off") on \(port)"
        case .backup(_, let to): to.map { "make \($0.name) the backup of \(port)" } ?? "take \(port)'s backup away"
        }
    }

    /// The message in words, and the command that sends the same.
    package func message(port: PortIdentity) -> PlannedMessage {
        let words = "RTM_SETLINK AF_BRIDGE \(port.name) "
        switch self {
        case .learning(let isOn):
            return PlannedMessage(
                netlink: words + "IFLA_BRPORT_LEARNING \(isOn ? 1 : 0)",
                bridgeCommand: "bridge link set dev \(port.name) learning \(isOn ? "on" : "off")")
        case .backup(_, let to):
            return PlannedMessage(
                netlink: words + "IFLA_BRPORT_BACKUP_PORT \(to?.index ?? 0)",
                bridgeCommand: "bridge link set dev \(port.name) "
                    + (to.map { "backup_port \($0.name)" } ?? "nobackup_port"))
        }
    }
}

extension PortSetting {
    /// The steps that put the ports' settings back.
    package static func steps(_ guest: GuestInterface, _ observation: Observation) -> [Step] {
        var steps: [Step] = []
        for (side, port) in guest.ports {
            guard let link = observation.ports[side], link.master == guest.bridge.index,
                let settings = link.bridgePort
            else { continue }
            let learns = guest.learns(side)
            if port.learningToRestore, settings.flags.contains(.learning) != learns {
                steps.append(.setting(port, .learning(isOn: learns)))
            }
            // A backup that left the bridge cannot be named again.
            if port.backupToClear, settings.backupPort != guest.standby.index,
                observation.ports[.standby]?.master == guest.bridge.index
            {
                steps.append(.setting(port, .backup(from: nil, to: guest.standby)))
            }
        }
        return steps
    }
}
