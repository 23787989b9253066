import Netlink
import Policy
import System

/// What a guest may miss that gets its primary: one that is registered without carrier takes nothing, and its standby's frames are
/// dropped (docs/zero.md).
///
/// As long as the guest answers, copies are kept from the primary (``QueueShield``): they would wait there, and come a second time.
/// Those that were kept from it, and that the standby carried since the last answer by it, are sent to the primary when the guest
/// answers there.
extension Replayer {
    /// Between two pairs of questions, in nanoseconds: the guest's answer by its primary is a frame that wakes the loop.
    static let arrivalPause: Int64 = 4_000_000
    /// A primary whose queue holds so many frames is not asked: nobody reads it yet, and the questions would take the places of frames.
    static let mostWaiting = 100
    /// One that has answered nothing for so long cannot be asked. Its silence alone does not show that: a guest whose primary has no
    /// carrier answers by neither port, for half a second where the link is e1000e's (docs/zero.md). What is kept from it meanwhile is
    /// late, and not lost; nanoseconds.
    private static let muteLimit: Int64 = 1_000_000_000
    /// A guest that has answered by its standby within this time uses it; nanoseconds.
    private static let recently: Int64 = 100_000_000

    /// It keeps what a guest misses that gets its primary.
    package var isArriving: Bool { phase == .arriving || phase == .arrived }
    /// Copies are kept from the primary.
    package var holdsPrimary: Bool { phase == .arriving }
    /// The guest takes frames by its primary.
    package var hasAnsweredByPrimary: Bool { phase == .arriving && gap?.isOver == true }

    func followArrival(now: Int64) {
        if gap?.isOver == false, probedAt == nil { ask(now: now, pause: Replayer.arrivalPause) }
    }

    /// The guest cannot be asked.
    package func isMute(now: Int64) -> Bool {
        guard phase == .arriving, let gap, !gap.isOver else { return false }
        return probedAt != nil || (!gap.isPastOpening && now >= begunAt + Replayer.muteLimit)
    }

    /// Copies are kept from the primary.
    package func holds() { if heldFrom == nil { heldFrom = standbyPort.seen } }

    /// The guest takes frames by its primary, or does not say where it takes any: what it may have missed is sent, past what keeps
    /// copies out.
    ///
    /// - Parameter isEvident: it takes frames by its primary; otherwise one that still answers by its standby has missed nothing, and one
    ///   that answers not at all gets all of them by its primary, as it would get the copies.
    func arrives(isEvident: Bool, using socket: inout CommandSocket) {
        guard phase == .arriving else { return }
        look(using: &socket)
        let now = monotonicNanoseconds()
        // Copies have reached the primary.
        guard let heldFrom else { return giveUp("copies of its frames could not be kept from \(plan.primary.name)") }
        if !isEvident, gap?.isOver != true, now < heardByStandbyAt + Replayer.recently { return finish() }
        // Copies of earlier ones have reached it.
        let begin = max(gap?.kept ?? 0, heldFrom)
        let isPossible = standbyPort.isComplete(from: begin)
        gap = nil
        phase = .arrived
        end = now + Replayer.tail
        guard isPossible else {
            told.append(ReplayAccount(.arriving, refusal: incomplete))
            return finish()
        }
        sending = Sending(
            [Piece(begin..<standbyPort.seen)], by: .primary, isOpen: true, evidenceAt: now, account: ReplayAccount(.arriving))
        send(now: now)
    }

    /// From now on copies reach the primary: what came meanwhile is sent, and no more.
    func hasArrived(using socket: inout CommandSocket) {
        guard phase == .arrived, sending?.isOpen == true else { return }
        look(using: &socket)
        sending?.extend(to: standbyPort.seen)
        sending?.isOpen = false
        send(now: monotonicNanoseconds())
        if sending == nil { finish() }
    }
}
