import Netlink
import Policy
import System

/// What a guest may miss that gets its primary: one that is registered without carrier takes nothing, and its standby's frames are
/// dropped (docs/zero.md).
///
/// Once the guest answers, copies are kept from the primary (``QueueShield``): they would wait there, and come a second time.
/// Those that were kept from it, and that the standby carried since the last answer by it, are sent to the primary when the guest
/// answers there.
extension Replayer {
    /// Between two pairs of questions, in nanoseconds: the guest's answer by its primary is a frame that wakes the loop.
    static let arrivalPause: Int64 = 4_000_000
    /// A primary whose queue holds so many frames is not asked: nobody reads it yet, and the questions would take the places of frames.
    static let mostWaiting = 100
    /// A guest that has answered nothing for so long after its arrival may be one that answers nobody: it gets its copies, so late at
    /// most, as without replay, until it answers by its standby. Once it has answered, its silence is no reason: a guest whose primary has
    /// no carrier answers by neither port, for half a second where the link is e1000e's (docs/zero.md); nanoseconds.
    private static let silence: Int64 = 100_000_000
    /// A guest that has answered by its standby within this time uses it; nanoseconds.
    private static let recently: Int64 = 100_000_000

    /// It keeps what a guest misses that gets its primary.
    package var isArriving: Bool { phase == .arriving || phase == .arrived }
    /// Copies are to be kept from the primary.
    package var holdsPrimary: Bool { phase == .arriving && !isSilent }
    /// The guest takes frames by its primary.
    package var hasAnsweredByPrimary: Bool { phase == .arriving && gap?.isOver == true }

    func followArrival(now: Int64, among guests: Int) {
        if gap?.isOver == false, probedAt == nil { ask(now: now, pause: Replayer.arrivalPause * Int64(guests)) }
    }

    /// The guest is not asked any more: it probes its own address, or no question is left.
    package var isUnasked: Bool { phase == .arriving && (probedAt != nil || gap?.next == nil) }

    /// The guest has answered nothing since it arrived.
    package func isMute(now: Int64) -> Bool {
        guard phase == .arriving, heldFrom != nil, let gap, !gap.isPastOpening else { return false }
        return gap.unanswered >= Replayer.mostUnanswered && now >= begunAt + Replayer.silence
    }

    /// How many frames wait in its primary's queue; nil where there is none, or that is not told.
    var waitingForPrimary: Int? { plan.isPrimaryTap ? primaryPort?.waiting : nil }

    /// Copies are kept from the primary.
    package func holds() { if heldFrom == nil { heldFrom = standbyPort.seen } }

    /// Prepares for copies to reach the primary again: the frames that were kept from it are sent there first.
    func letsThrough(using socket: inout CommandSocket) {
        guard phase == .arriving, let begin = heldFrom else { return }
        look(using: &socket)
        (isSilent, heldFrom) = (true, nil)
        sendToPrimary(from: begin, now: monotonicNanoseconds())
    }

    /// The guest takes frames by its primary, or does not say where it takes any: what it may have missed is sent, past what keeps
    /// copies out.
    ///
    /// - Parameter isEvident: it takes frames by its primary; otherwise one that still answers by its standby has missed nothing, and one
    ///   that answers not at all gets all of them by its primary, as it would get the copies.
    func arrives(isEvident: Bool, using socket: inout CommandSocket) {
        guard phase == .arriving else { return }
        look(using: &socket)
        let now = monotonicNanoseconds()
        // The primary gets copies already. Frames that were kept from it before may still wait to be sent.
        guard let heldFrom else {
            if !isSilent { return giveUp("copies of its frames could not be kept from \(plan.primary.name)") }
            gap = nil
            (phase, end) = (.arrived, now + Replayer.tail)
            return send(now: now)
        }
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
        sendToPrimary(from: begin, now: now)
    }

    private func sendToPrimary(from begin: UInt64, now: Int64) {
        // What was let through may still wait for room.
        sending = Sending(
            (sending?.pieces ?? []) + [Piece(begin..<standbyPort.seen)], by: .primary, isOpen: true, evidenceAt: now,
            account: sending?.account ?? ReplayAccount(.arriving))
        send(now: now)
    }

    /// From now on copies reach the primary: what came meanwhile is sent, and no more.
    func copiesPass(using socket: inout CommandSocket) {
        guard isArriving, sending?.isOpen == true else { return }
        look(using: &socket)
        sending?.extend(to: standbyPort.seen)
        sending?.isOpen = false
        send(now: monotonicNanoseconds())
        if phase == .arrived, sending == nil { finish() }
    }
}
