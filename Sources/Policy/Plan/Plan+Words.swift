import FDB

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
                return changes.flatMap { $0.change.requests }.map { PlannedMessage($0.words(name: name)) }
            case .filter(let planned):
                return [planned.change.words]
            case .groups(let requests):
                return requests.map { PlannedMessage($0.words(name: name)) }
            case .copy(let change):
                return change.messages
            case .sourceGuard(let change):
                return [change.message]
            case .neighbours(let changes):
                return changes.flatMap { change in
                    change.requests.map { PlannedMessage($0.words { _ in change.neighbour.interface.name }) }
                }
            }
        } + (groups?.removals ?? []).map { PlannedMessage($0.words(name: name)) }
    }
}
