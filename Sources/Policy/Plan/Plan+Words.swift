import FDB
import Netlink

extension Plan {
    /// Each netlink message of the plan in words, with its `bridge` equivalent where one exists.
    ///
    /// - Parameter name: the name of an interface index.
    package func messages(name: (Int32) -> String) -> [PlannedMessage] {
        steps.flatMap { step -> [PlannedMessage] in
            switch step {
            case .setting(let port, let setting):
                return [setting.message(port: port)]
            case .entries(let changes):
                return changes.flatMap { $0.change.requests }.map { $0.words(name: name) }
            case .filter(let planned):
                return [planned.change.words]
            case .groups(let requests):
                return requests.map { $0.words(name: name) }
            case .copy(let change):
                return change.messages
            }
        } + (groups?.removals ?? []).map { $0.words(name: name) }
    }
}

extension EntryRequest {
    /// The message in words, and the `bridge fdb` command that sends the same.
    package func words(name: (Int32) -> String) -> PlannedMessage {
        let vlan = address.vlan.map { " vlan \($0)" } ?? ""
        if type == .deleteNeighbour {
            return PlannedMessage(
                netlink: "RTM_DELNEIGH \(address) \(name(port)) NTF_MASTER",
                bridgeCommand: "bridge fdb del \(address.mac) dev \(name(port)) master\(vlan)")
        }
        var words = ["RTM_NEWNEIGH \(address) \(name(port))"]
        if flags.contains(.create) { words.append("NLM_F_CREATE") }
        if flags.contains(.replace) { words.append("NLM_F_REPLACE") }
        if flags.contains(.exclusive) { words.append("NLM_F_EXCL") }
        words.append("NTF_MASTER")
        if entryFlags.contains(.use) { words.append("NTF_USE") }
        if entryFlags.contains(.sticky) { words.append("NTF_STICKY") }
        words.append(state == .noARP ? "NUD_NOARP" : "NUD_REACHABLE")
        let command = flags.contains(.exclusive) ? "add" : "replace"
        let kind = state == .noARP ? "static" : "dynamic"
        let extras = (entryFlags.contains(.use) ? " use" : "") + (entryFlags.contains(.sticky) ? " sticky" : "")
        return PlannedMessage(
            netlink: words.joined(separator: " "),
            bridgeCommand: "bridge fdb \(command) \(address.mac) dev \(name(port)) master \(kind)\(extras)\(vlan)")
    }
}
