import Policy
import Records
import Switchdev
import System

/// Guests whose primary has no carrier, and open brackets.
extension Keeper {
    /// Opens a bracket for a guest whose primary has lost its carrier, where the guest's kind allows one: it still refuses
    /// what comes by the standby, until it has let go of the primary.
    mutating func bracketTheMute(_ claim: inout Claim) throws(ControllerError) -> Outcome {
        let (row, guest) = (claim.record.row, claim.record.guest)
        if case .told(let text) = wards[row]?.mute { return .beyondRepair(text) }
        let what = "primary port \(guest.primary.name) has no carrier"
        let cannot: String
        if let objection = guest.kind.objection {
            cannot = "guest \(guest.id) \(objection)"
        } else {
            do throws(ControllerError) {
                let report = try OpenBracket(to: .standby, options: options).run(
                    under: claim, on: &host.kernel, since: Stopwatch())
                try relearn(&claim)
                if report.outcome == .done { wards[row]?.mute = .bracketed }
                return .redirected(book(report, reason: what), reason: what)
            } catch {
                cannot = "\(error)"
            }
        }
        let text = "\(what); no bracket was opened: \(cannot)"
        wards[row]?.mute = .told(text)
        return .beyondRepair(text)
    }

    /// Does what is to be done about a guest with an open bracket.
    mutating func checkBracket(
        _ drift: Drift, _ claim: inout Claim, _ observation: Observation
    ) throws(ControllerError) -> Outcome {
        let row = claim.record.row
        switch drift {
        case .none:
            wards[row]?.flaglessSince = nil
            if wards[row]?.mute == .bracketed, let port = observation.ports[.primary], port.isUp, port.hasCarrier {
                wards[row]?.mute = nil
                return try close(&claim, at: .primary, reason: "primary port \(port.name) has its carrier again")
            }
            return host.kernel.view(claim.record)?.isCopyRight == true ? .fine : try repairBracket(&claim)
        case .entries, .settings, .flags: return try repairBracket(&claim)
        case .primaryLost(let what):
            counters.primaryLosses += 1
            return try close(&claim, at: .standby, reason: what)
        case .beyondRepair(let what): return .beyondRepair(what)
        case .behindUplink:
            if let outcome = awaitDeparture(row) { return outcome }
            guard hasLeft(claim.record, observation) else { return try repairBracket(&claim) }
            counters.departures += 1
            return try move(&claim, to: .remote, reason: Keeper.behindUplink)
        // Nothing comes to or goes from where the entries of a bracket are, the standby.
        case .arrived, .primaryMute: return .fine
        }
    }

    private mutating func repairBracket(_ claim: inout Claim) throws(ControllerError) -> Outcome {
        let (result, report) = try RepairBracket(options: options).run(under: claim, on: &host.kernel)
        if let report { _ = book(report) }
        return .recovered(result)
    }

    /// Closes the bracket, and moves the guest on.
    private mutating func move(
        _ claim: inout Claim, to side: Side, reason: String
    ) throws(ControllerError) -> Outcome {
        let closed = try close(&claim, at: .standby, reason: reason)
        guard claim.record.phase == .pinned else { return closed }
        return try redirect(&claim, to: side, reason: reason)
    }

    private mutating func close(
        _ claim: inout Claim, at side: Side, reason: String
    ) throws(ControllerError) -> Outcome {
        let report = try CloseBracket(at: side, options: options).run(
            under: claim, on: &host.kernel, since: Stopwatch())
        try relearn(&claim)
        return .redirected(book(report, reason: reason), reason: reason)
    }
}
