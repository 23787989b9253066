package import FDB

extension PlannedChange {
    /// Whether an entry is as it was found, except for ages and the flags that only drivers set.
    package static func isRestored(_ entry: Entry?, to before: Entry?) -> Bool {
        guard let entry, let before else { return entry == nil && before == nil }
        return entry.port == before.port && entry.isStatic == before.isStatic && entry.isLocal == before.isLocal
            && entry.isSticky == before.isSticky
            && (entry.isControlPlanes == before.isControlPlanes || !before.isControlPlanes)
    }

    /// The change that makes the original entry again if nothing is left of it.
    package var recreation: EntryChange {
        let primitive: EntryChange.Primitive =
            switch undo.primitive {
            case .makeDynamic, .recreateDynamic: .makeDynamic
            case .recreateExternal: .recreateExternal
            default: .replace
            }
        return EntryChange(undo.address, primitive, port: undo.port, sticky: undo.sticky)
    }

    /// The change that returns an entry to its planned place after a driver took it back or moved it.
    package func repair(of entry: Entry?, plan: Plan) -> EntryChange {
        let fromEswitch = entry.map { plan.eswitchPorts.contains($0.port) } ?? false
        return EntryChange(
            change.address, Plan.primitive(before: entry, fromEswitch: fromEswitch, to: change.port), port: change.port,
            oldPort: entry?.port, sticky: change.sticky)
    }
}

extension NeighbourChange {
    /// It was refused.
    package func failure(_ refusal: KernelRefusal) -> Redirection.Failure {
        Redirection.Failure(
            "the kernel refused the neighbour \(neighbour.ip) on \(neighbour.interface.name)", cause: refusal)
    }
}
