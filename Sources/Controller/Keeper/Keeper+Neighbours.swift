import FDB
import Policy
import Records
import System

/// Neighbours that follow guests, and that others have removed or replaced.
extension Keeper {
    /// How long a neighbour may be a control plane's before that is contradicted, in nanoseconds: when a guest leaves, the control
    /// plane moves its MAC and its IP address one after the other, and the MAC's move says where the guest is.
    private static let claimPause: Int64 = 100_000_000

    /// Puts a guest's neighbours back. What a control plane says is contradicted at most once in a while, as with entries: its next word
    /// may be right.
    mutating func restoreNeighbours(
        _ claim: inout Claim, _ observation: Observation
    ) throws(ControllerError) -> Outcome {
        let (record, now) = (claim.record, monotonicNanoseconds())
        let row = record.row
        let claimed = NeighbourChange.following(record.guest, at: record.guest.side, observation).first {
            $0.before?.isControlPlanes == true
        }
        guard let claimed else { return try repair(&claim, observation, cause: .neighbour) }
        guard let since = wards[row]?.neighbourClaimedAt, now - since >= Keeper.claimPause else {
            let since = wards[row]?.neighbourClaimedAt ?? now
            wards[row]?.neighbourClaimedAt = since
            return .later(at: since + Keeper.claimPause, .neighbour)
        }
        let next = wards[row]?.neighbourCorrectedAt.map { $0 + Keeper.correctionPause } ?? now
        if next <= now { wards[row]?.neighbourCorrectedAt = now }
        let outcome = try repair(&claim, observation, cause: .neighbour, contradicts: next <= now)
        guard next > now, case .fine = outcome else { return outcome }
        let condition = Condition(
            Condition.neighbourClaimed, .problem, "\(claimed.neighbour.ip)",
            "a control plane has made it its own on \(claimed.neighbour.interface.name), and the guest is here",
            remedy: "vtysh -c \"show bgp l2vpn evpn route type macip\" names the host that advertises it")
        return .doubtful(condition, again: next, .neighbour)
    }
}
