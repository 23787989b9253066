package import Switchdev

/// A setting of a bridge port that a plan changes.
public enum PortSetting: Hashable, Sendable {
    /// Whether source addresses of frames become entries.
    case learning(isOn: Bool)
    /// Whether the port lets the guest's frames in, and what shuts it.
    case gate(isShut: Bool, by: Gate)
    /// The port that takes over frames of entries on this port while it has no carrier; nil for none.
    ///
    /// Software's safety net: drivers are not told of it, and it ends with the entries, when the port leaves the bridge.
    case backup(from: PortIdentity?, to: PortIdentity?)

    /// Puts back what it was.
    package var inverse: PortSetting {
        switch self {
        case .learning(let isOn): .learning(isOn: !isOn)
        case .gate(let isShut, let means): .gate(isShut: !isShut, by: means)
        case .backup(let from, let to): .backup(from: to, to: from)
        }
    }

    /// The message to the bridge; nil for what nftables does.
    package func request(port: PortIdentity) -> PortSettingRequest? {
        switch self {
        case .learning(let isOn): .learning(port: port.index, isOn: isOn)
        case .gate(let isShut, .lock): .locked(port: port.index, isOn: isShut)
        case .gate(_, .table): nil
        case .backup(_, let to): .backup(port: port.index, backup: to?.index)
        }
    }

    /// What is done, in words.
    package func words(port: String) -> String {
        switch self {
        case .learning(let isOn): "switch learning \(isOn ? "on" : "off") on \(port)"
        case .gate(let isShut, .lock): isShut ? "lock \(port)" : "unlock \(port)"
        case .gate(let isShut, .table): isShut ? "shut \(port) by nftables" : "open \(port) in nftables"
        case .backup(_, let to): to.map { "make \($0.name) the backup of \(port)" } ?? "take \(port)'s backup away"
        }
    }

    /// What steps do to ports, in words.
    static func words(_ steps: [Step]) -> [String] {
        steps.compactMap {
            if case .setting(let port, let setting) = $0 { setting.words(port: port.name) } else { nil }
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
        case .gate(let isShut, .lock):
            return PlannedMessage(
                netlink: words + "IFLA_BRPORT_LOCKED \(isShut ? 1 : 0)",
                bridgeCommand: "bridge link set dev \(port.name) locked \(isShut ? "on" : "off")")
        case .gate(let isShut, .table):
            return PlannedMessage(
                netlink: "NFT_MSG_\(isShut ? "NEW" : "DEL")SETELEM bridge, shut: the guest's MACs by \(port.name)",
                bridgeCommand: nil)
        case .backup(_, let to):
            return PlannedMessage(
                netlink: words + "IFLA_BRPORT_BACKUP_PORT \(to?.index ?? 0)",
                bridgeCommand: "bridge link set dev \(port.name) "
                    + (to.map { "backup_port \($0.name)" } ?? "nobackup_port"))
        }
    }
}

extension PortSetting {
    /// The steps that give the ports' settings back at a release; what others have set since is left, and noted.
    ///
    /// - Parameter isAtRest: no verb was interrupted. Somebody else has then made whatever differs from the record.
    package static func restoration(
        _ guest: GuestInterface, _ observation: Observation, isAtRest: Bool, _ notes: inout [String]
    ) -> [Step] {
        var steps: [Step] = []
        for (side, port) in guest.ports where port.learningToRestore || port.backupToClear || port.gates {
            guard let link = observation.ports[side], let settings = link.bridgePort, link.master == guest.bridge.index
            else {
                notes.append("\(port.name) is no port of \(guest.bridge.name) any more: no settings to put back")
                continue
            }
            if port.learningToRestore, !settings.flags.contains(.learning) {
                steps.append(.setting(port, .learning(isOn: true)))
            }
            // A table is taken away as a whole.
            if port.gate == .lock, settings.flags.contains(.locked) {
                if guest.isClosed(side) || !isAtRest, !port.isLockedByOthers {
                    steps.append(.setting(port, .gate(isShut: false, by: .lock)))
                } else {
                    notes.append("\(port.name) stays locked, which fdbsteer did not do")
                }
            }
            guard port.backupToClear, let backup = settings.backupPort else { continue }
            if backup == guest.standby.index {
                steps.append(.setting(port, .backup(from: guest.standby, to: nil)))
            } else {
                notes.append(
                    "\(port.name) keeps its backup port \(guest.name(ofPort: backup)), which fdbsteer did not set")
            }
        }
        return steps
    }

    /// The steps that bring the ports' settings to what the record says.
    ///
    /// - Parameter isAtRest: the guest was here before, and no verb was interrupted: whoever has locked its ports meanwhile has his
    ///   reasons, and the lock is left (``PortRules/locked``). It is left too when the guest has been away since.
    package static func steps(
        _ guest: GuestInterface, _ observation: Observation, isAtRest: Bool = true
    ) -> [Step] {
        var steps: [Step] = []
        for (side, port) in guest.ports {
            guard let link = observation.ports[side], link.master == guest.bridge.index,
                let settings = link.bridgePort
            else { continue }
            let learns = guest.learns(side)
            if port.learningToRestore, settings.flags.contains(.learning) != learns {
                steps.append(.setting(port, .learning(isOn: learns)))
            }
            if let means = port.gate, let isShut = observation.isShut(port, of: guest), isShut != guest.isClosed(side),
                guest.isClosed(side) || means == .table || (!isAtRest && !port.isLockedByOthers)
            {
                steps.append(.setting(port, .gate(isShut: guest.isClosed(side), by: means)))
            }
            // A backup that left the bridge cannot be named again, and another one is somebody else's choice.
            if port.backupToClear, settings.backupPort == nil,
                observation.ports[guest.arrival]?.master == guest.bridge.index
            {
                steps.append(.setting(port, .backup(from: nil, to: guest.standby)))
            }
        }
        return steps
    }
}

extension GuestInterface {
    /// Notes for a guest that goes to another host, or is there, whose lock each of its gates has.
    ///
    /// - Parameters:
    ///   - before: the side that it comes from.
    ///   - isAtRest: no verb was interrupted. One that was has noted it, and the lock that is seen may be its own.
    package mutating func noteLocks(from before: Side, _ observation: Observation, isAtRest: Bool) {
        guard side == .remote else { return }
        func note(_ port: inout PortIdentity) {
            guard port.gate == .lock, let isLocked = observation.isShut(port, of: self) else { return }
            // One that others have taken off is made anew.
            port.isLockedByOthers = isLocked && (before != .remote && isAtRest || port.isLockedByOthers)
        }
        var second = standby
        note(&second)
        standby = second
        if var first = primary {
            note(&first)
            primary = first
        }
    }
}
