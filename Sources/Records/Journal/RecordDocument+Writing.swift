import FDB
import JSON
import Policy
import Switchdev
import System

extension RecordDocument {
    /// What a commit may have more than the intent before it, in bytes.
    static let room = 1024

    mutating func begin(_ phase: GuestPhase, goal: Side?, by doer: Doer) {
        // A bracket whose copy is made anew was opened by who has opened it, and then.
        if phase == .bracketed, self["phase"]?.text == phase.rawValue, self["goal"]?.text == goal?.rawValue { return }
        self["phase"] = .string(phase.rawValue)
        self["goal"] = goal.map { .string($0.rawValue) }
        self["since_ns"] = .integer(Stopwatch.realTime)
        self["by"] = .string(doer.label)
    }

    mutating func settle(_ side: Side, proof: OffloadProof.Status, by doer: Doer) {
        begin(.pinned, goal: nil, by: doer)
        self["side"] = .string(side.rawValue)
        self["proof"] = .string(proof.rawValue)
    }

    mutating func countWrite() { self["revision"] = .integer((self["revision"]?.integer ?? 0) &+ 1) }

    mutating func rename(_ guest: GuestInterface) {
        func label(_ element: JSON, _ port: PortIdentity?) -> JSON {
            port.map { element.with([.init("name", .string($0.name))]) } ?? element
        }
        self["bridge"] = self["bridge"].map { label($0, guest.bridge) }
        update("ports") { element in
            switch element["role"]?.text {
            case "primary": label(element, guest.primary)
            case "standby", "local": label(element, guest.standby)
            case "uplink": label(element, guest.uplink)
            default: element
            }
        }
        if let interfaces = guest.neighbours?.interfaces {
            update("neighbours") { element in
                label(element, interfaces.first { Int64($0.index) == element["ifindex"]?.integer })
            }
        }
        if let nic = guest.nic, let old = self["nic"], let pf = old["pf"] {
            self["nic"] = old.with([.init("pf", label(pf, nic.pf))])
        }
    }

    /// Notes whose lock the ports with a gate have.
    ///
    /// - Returns: whether that is news.
    mutating func noteLocks(of guest: GuestInterface) -> Bool {
        let before = self["ports"]?.elements ?? []
        let after = before.map { element in
            guard let port = guest.own.first(where: { Int64($0.port.index) == element["ifindex"]?.integer })?.port,
                port.isLockedByOthers != (element["locked_by_others"]?.bool == true)
            else { return element }
            return element.with([.init("locked_by_others", .bool(port.isLockedByOthers))])
        }
        guard after != before else { return false }
        self["ports"] = .array(after)
        return true
    }

    /// Replaces each element of a list.
    mutating func update(_ name: String, _ change: (JSON) -> JSON) {
        self[name] = .array((self[name]?.elements ?? []).map(change))
    }
}

extension JSON {
    /// The address of an element of `addresses`.
    var address: Address? { self["address"]?.text.flatMap { try? Address($0) } }

    /// An object with other values of some members.
    func with(_ new: [Member]) -> JSON {
        let kept = (members ?? []).map { old in new.last { $0.name == old.name } ?? old }
        return .object(kept + new.filter { added in !kept.contains { $0.name == added.name } })
    }
}

extension JournalChange {
    /// It is written before the operation that it records.
    var isBeginning: Bool {
        switch self {
        case .intent: true
        case .bracket(let phase, _, _, _, _): phase != .bracketed
        default: false
        }
    }
}
