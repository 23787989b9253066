import Netlink
import Policy
import Switchdev
import System

extension Keeper {
    /// Opens a bracket for a guest whose primary has lost its carrier, where the guest's kind allows one: it still refuses
    /// what comes by the standby, until it has let go of the primary. The lock is held.
    mutating func bracketTheMute(_ record: GuestRecord) -> Outcome {
        let guest = record.guest
        if case .told(let text) = mute[record.row] { return .beyondRepair(text) }
        let what = "primary port \(guest.primary.name) has no carrier"
        let cannot: String
        if let objection = guest.kind.objection {
            cannot = "guest \(guest.id) \(objection)"
        } else {
            do throws(ControllerError) {
                let report = try host.open(record, to: .standby, in: journal, clock: Stopwatch(), options: options)
                try relearn(record.row)
                if report.outcome == .done { mute[record.row] = .bracketed }
                return .redirected(write(report, reason: what), reason: what)
            } catch {
                cannot = "\(error)"
            }
        }
        let text = "\(what); no bracket was opened: \(cannot)"
        mute[record.row] = .told(text)
        return .beyondRepair(text)
    }

    /// Looks after an open bracket whose entries are right: its copy, and whether what it was opened for is over.
    mutating func tend(_ record: GuestRecord, _ observation: Observation) throws(ControllerError) -> Outcome {
        if mute[record.row] == .bracketed, let port = observation.ports[.primary], port.isUp, port.hasCarrier {
            mute[record.row] = nil
            return try close(record, at: .primary, reason: "primary port \(port.name) has its carrier again")
        }
        guard host.view(record)?.isCopyRight != true else { return .fine }
        return .recovered(try host.adopt(record, in: journal, options: options))
    }

    /// Closes a bracket whose lock is held.
    mutating func close(_ record: GuestRecord, at side: Side, reason: String) throws(ControllerError) -> Outcome {
        let report = try host.close(
            record, at: side, verb: .switch, in: journal, clock: Stopwatch(), options: options)
        try relearn(record.row)
        return .redirected(write(report, reason: reason), reason: reason)
    }
}
