import CNetlink
import FDB
import Glibc
import Netlink
package import Policy
import Switchdev
import System

/// Keeps what one guest may miss while it migrates away, and sends it again to where it takes it (docs/zero.md): to its standby once it
/// has let go of its primary, and by the uplink once it runs on the other host; or what it may miss while it gets a primary, which is
/// sent to that. What is to be sent is judged by ``GapCourse`` and ``TapAccount``.
///
/// Nobody is woken by a frame: the loop comes by each millisecond, or five while nothing depends on it.
package final class Replayer {
    /// `ready`: it will be asked for its primary; `left`: it has given that up, and stays.
    enum Phase { case ready, leaving, left, migrating, stopped, departed, arriving, arrived, over }

    let plan: ReplayPlan
    let buffer: CaptureBuffer
    let ring: FrameRing
    var standbyPort: WatchedPort
    /// Its primary's, as long as it is asked.
    var primaryPort: WatchedPort?
    /// What left by the primary, until a frame leaves by both ports.
    var earlyRing: FrameRing?
    let standby: ReplaySocket
    let primary: ReplaySocket?
    let uplink: ReplaySocket?
    var phase: Phase
    var gap: GapCourse?
    var sending: Sending?
    let begunAt: Int64
    /// When it last answered by its standby.
    var heardByStandbyAt: Int64 = 0
    /// When the guest was heard to probe the address at which it is asked (RFC 5227), on CLOCK_MONOTONIC in nanoseconds: it is asked no
    /// more.
    var probedAt: Int64?
    /// Copies of this frame and later ones are kept from the primary; nil: of none.
    var heldFrom: UInt64?
    /// It has arrived, and answers nothing: copies are not kept from its primary.
    var isSilent = false
    /// When a question was last put by the side that the guest leaves, and by the other.
    private var (askedOldAt, askedNewAt): (Int64, Int64) = (0, 0)
    /// Until when the guest is asked whether it takes its standby's frames.
    private var gapEnd: Int64 = .max
    var end: Int64 = .max
    /// How the tap was when QEMU stopped the guest: the first frame that was not read, and frames read until then.
    private var halted: (unread: UInt64, read: UInt64)?
    /// Why what the guest misses while it is stopped cannot be told; nil where it can.
    package var refusal: String?
    /// Why it cannot be told when the guest gives up its primary; nil where it can.
    var leavingRefusal: String?
    var told: [ReplayAccount] = []

    private static let hotPause: Int64 = 1_000_000
    /// The number of unanswered questions by the side that the guest leaves from which on one is put only after as many pauses: a busy
    /// guest answers slowly, and more questions make it slower.
    static let mostUnanswered = 8
    /// With this many unanswered questions the guest may have left that side, so it is asked by the other one as well.
    private static let fewUnanswered = 2
    private static let calmPause: Int64 = 5_000_000
    /// How long a guest that has given up its primary is asked, in nanoseconds: on a busy host its answers are late.
    private static let patience: Int64 = 500_000_000
    /// How long frames are sent after the guest that still left by its old port, in nanoseconds.
    static let tail: Int64 = 1_000_000_000
    /// Frames that were read and never reached the guest. From the moment at which QEMU stops a guest, its queue takes one frame and
    /// reads no further; that frame is dropped once the processors stand still, which makes QEMU read another (`qemu_can_send_packet`,
    /// `net_vm_change_state_handler`, net/net.c). On a busy host both have been counted when STOP is heard.
    private static let margin: UInt64 = 2
    /// Frames read after that, besides: somebody reads them for the guest.
    private static let lateReads: UInt64 = 2

    /// What sees the guest's frames.
    struct Captures: ~Copyable {
        var standby: WatchedPort
        var primary: WatchedPort?

        /// - Parameter primary: nil: what leaves by it need not be seen.
        /// - Throws: ``ControllerError`` of code `precondition`.
        init(
            primary port: PortIdentity?, standby other: PortIdentity, to macs: [MACAddress]
        ) throws(ControllerError) {
            do throws(NetlinkError) {
                primary = nil
                if let port { primary = try WatchedPort(port, to: macs) }
                standby = try WatchedPort(other, to: macs)
            } catch {
                throw ControllerError(.precondition, "frames cannot be kept", cause: error)
            }
        }
    }

    /// - Throws: ``NetlinkError`` of code `system`.
    init(
        _ plan: ReplayPlan, _ captures: consuming Captures, through buffer: CaptureBuffer, isReady: Bool = false,
        now: Int64
    ) throws(NetlinkError) {
        guard let ring = FrameRing() else {
            throw NetlinkError(.system, "no memory for frames", errno: KernelErrno(rawValue: ENOMEM))
        }
        self.plan = plan
        self.buffer = buffer
        self.ring = ring
        standby = try ReplaySocket(on: plan.standby.index, named: plan.standby.name)
        primary = try plan.gap.map { _ throws(NetlinkError) in
            try ReplaySocket(on: plan.primary.index, named: plan.primary.name, mark: QueueShield.mark)
        }
        uplink = try plan.uplink.map { uplink throws(NetlinkError) in
            try ReplaySocket(on: uplink.index, named: uplink.name)
        }
        if plan.gap != nil {
            primaryPort = captures.primary.take()
            earlyRing = plan.isArriving ? nil : FrameRing()
            gap = GapCourse(from: plan.isArriving ? .standby : .primary)
        }
        standbyPort = captures.standby
        phase = plan.isArriving ? .arriving : isReady ? .ready : .migrating
        begunAt = now
        // Numbers begin with 1, behind a question that is put when a guest is to leave.
        if plan.isArriving { gap?.put(isByOld: false, seen: 0, now: now) }
    }

    /// It was made before the guest is asked for its primary.
    package var isReady: Bool { phase == .ready }

    /// The guest is asked for its primary, or will be at any time.
    func begins(now: Int64, using socket: inout CommandSocket) {
        guard phase == .ready else { return }
        look(using: &socket)
        forget()
        due = now
        phase = .migrating
        if let leavingRefusal { told.append(ReplayAccount(.leaving, refusal: leavingRefusal)) }
        guard let asks = plan.gap else { return }
        phase = .leaving
        gap?.put(isByOld: true, seen: standbyPort.seen, now: now)
        _ = asks.frame(.primary, 0).withUnsafeBytes { primary?.send($0) }
    }

    /// When to call ``Keeper/advance(_:of:now:among:)``, on CLOCK_MONOTONIC in nanoseconds; nil once it is over.
    package private(set) var due: Int64? = 0

    /// What has come to an end since this was last asked.
    package func takeAccounts() -> [ReplayAccount] {
        defer { told = [] }
        return told
    }

    // MARK: - What happens to the guest

    /// It has given up its primary, or had none, and is being copied. Its answer may be on its way, or wait to be read.
    package func migrates(now: Int64) {
        guard phase == .leaving || phase == .left else { return }
        gapEnd = min(gapEnd, now + Replayer.patience)
        end = .max
        phase = .migrating
    }

    /// It has given up its primary, and is not being copied.
    package func stays(now: Int64) {
        if phase == .migrating { return finish() }
        guard phase == .leaving else { return }
        phase = .left
        gapEnd = now + Replayer.patience
        end = gapEnd + Replayer.tail
    }

    /// The guest was to give up its primary by now, and may do so at any time: it is asked no more.
    package func giveUpLeaving() { if phase == .leaving { giveUpGap() } }

    private func giveUpGap() {
        guard gap != nil else { return }
        let reason =
            probedAt == nil
            ? "the guest did not say when it took its standby's frames"
            : "the guest is probing whether its address is free (RFC 5227), and is not asked meanwhile"
        told.append(ReplayAccount(.leaving, refusal: reason))
        endGap()
    }

    func endGap() {
        gap = nil
        primaryPort = nil
    }

    /// QEMU has stopped it.
    func stops(using socket: inout CommandSocket) {
        guard phase == .migrating else { return }
        look(using: &socket)
        judgeGap(now: monotonicNanoseconds())
        giveUpGap()
        phase = .stopped
        guard let counters = standbyPort.counters, let unread = standbyPort.unread else { return }
        halted = (unread, counters.txPackets)
    }

    /// It runs on here.
    package func runsOn() {
        if phase == .stopped { phase = .migrating }
        halted = nil
    }

    /// It was seen on another host.
    func departs(now: Int64, using socket: inout CommandSocket) {
        guard phase != .departed, phase != .over else { return }
        if plan.isArriving { return finish() }
        look(using: &socket)
        if let refusal = refusalToSend() {
            told.append(ReplayAccount(.blackout, refusal: refusal))
            return finish()
        }
        phase = .departed
        end = now + Replayer.tail
        let begin = (halted?.unread ?? 0)
        var next = Sending(
            [.init(begin - min(begin, Replayer.margin)..<standbyPort.seen)], by: .uplink, isOpen: true, evidenceAt: now,
            account: ReplayAccount(.blackout))
        // The standby's queue had no room for all that the guest missed before: the rest follows the guest.
        if let sending {
            next.pieces = sending.pieces + next.pieces
            told.append(sending.account)
        }
        sending = next
        send(now: now)
    }

    private func refusalToSend() -> String? {
        if phase != .stopped { return "it is not known when the guest was stopped" }
        if let refusal { return refusal }
        if uplink == nil { return "the guest has no uplink" }
        guard let halted else { return "it is not known what was read from \(plan.standby.name)" }
        if !standbyPort.isComplete(from: halted.unread) { return incomplete }
        if let counters = standbyPort.counters, counters.txPackets > halted.read + Replayer.lateReads {
            return "\(plan.standby.name) was read after the guest had been stopped"
        }
        return nil
    }

    var incomplete: String { "frames of \(plan.standby.name) came faster than they could be kept" }

    /// Discards the kept frames, for the reason given. A guest that has left its primary or this host still gets what it missed.
    package func giveUp(_ reason: String) {
        guard phase != .departed, phase != .left, phase != .over else { return }
        if phase == .ready { return finish() }
        told.append(ReplayAccount(plan.isArriving ? .arriving : gap != nil ? .leaving : .blackout, refusal: reason))
        finish()
    }

    /// Nothing more is kept, and what was kept is gone.
    package func finish() {
        if let sending {
            var account = sending.account
            for piece in sending.pieces {
                self.ring(of: piece)?.forEach(in: piece.range) { _ in
                    account.dropped += 1
                    return true
                }
            }
            account.dropped += ring.takeOverflow()
            told.append(account)
        }
        sending = nil
        phase = .over
        due = nil
    }

    /// It is over.
    package var isOver: Bool { phase == .over }

    /// The guest is asked.
    package var isAsking: Bool { phase != .ready && gap?.isOver == false }

    // MARK: - The loop

    /// Takes what was seen, asks, and sends what is to be sent.
    ///
    /// - Parameter guests: that are asked at the same time: each gets its share of the questions that one would get. Ten guests that got
    ///   2,000 a second each did little else, and took a minute to give up their primaries (`fdbsteer-bench migrate-many`).
    func advance(now: Int64, among guests: Int, using socket: inout CommandSocket) {
        guard phase != .over else { return }
        look(using: &socket)
        if [.leaving, .left, .migrating].contains(phase) { followGap(now: now, among: guests) }
        if phase == .arriving { followArrival(now: now, among: guests) }
        send(now: now)
        forget()
        if now >= end { return finish() }
        if phase == .arrived || phase == .left, gap == nil, sending == nil { finish() }
        if phase == .over { return }
        let pause =
            switch phase {
            case .arriving: Replayer.arrivalPause
            case .ready: Replayer.calmPause
            case .leaving where sending == nil && gap == nil, .migrating where sending == nil && gap == nil:
                Replayer.calmPause
            default: Replayer.hotPause
            }
        due = now + pause
    }

    func look(using socket: inout CommandSocket) {
        // The counters first: what is counted was seen then.
        let indexes = [plan.standby.index] + (primaryPort == nil ? [] : [plan.primary.index])
        let counters = try? PortCounters.read(indexes, using: &socket)
        standbyPort.look(counters?[0], through: buffer) { frame, details, number in
            take(frame, details, number, by: .standby)
        }
        primaryPort?.look(counters?[1], through: buffer) { frame, details, number in
            take(frame, details, number, by: .primary)
        }
    }

    private func take(
        _ frame: UnsafeMutableRawBufferPointer, _ details: cn_captured, _ number: UInt64?, by side: Side
    ) {
        guard let number else { return hear(frame) }
        let content = UnsafeRawBufferPointer(rebasing: frame[Int(CN_VNET_HEADER)...])
        if plan.isOfGuest(content) {
            guard details.truncated == 0 else { return }
            let ring = side == .standby ? ring : gap?.isPastOpening == false ? earlyRing : nil
            ring?.keep(UnsafeRawBufferPointer(frame), number: number, tag: (details.tag_type, details.tag))
        } else if let pair = plan.pair(of: content, from: side) {
            gap?.placed(pair, by: side, at: number)
        }
    }

    private func hear(_ frame: UnsafeMutableRawBufferPointer) {
        let content = UnsafeRawBufferPointer(rebasing: frame[Int(CN_VNET_HEADER)...])
        switch plan.word(content) {
        case .answer(let side, let pair):
            gap?.answered(pair, by: side)
            guard side == .standby, gap?.isPastOpening == true else { return }
            (heardByStandbyAt, isSilent) = (monotonicNanoseconds(), false)
        case .probe: probedAt = monotonicNanoseconds()
        case nil: break
        }
    }

    private func followGap(now: Int64, among guests: Int) {
        guard gap?.isOver == false else { return }
        if now >= gapEnd || probedAt != nil || gap?.next == nil {
            giveUpGap()
        } else {
            ask(now: now, pause: Replayer.hotPause * Int64(guests))
        }
    }

    /// Puts the questions that are due.
    ///
    /// - Parameter pause: between two by one side, in nanoseconds.
    func ask(now: Int64, pause: Int64) {
        guard let asks = plan.gap, let number = gap?.next, let unanswered = gap?.unanswered else { return }
        let isSlow = unanswered >= Replayer.mostUnanswered
        // The first is put by both: from there on frames leave by both.
        let isFirst = number == 1
        let isOldDue = isFirst || now >= askedOldAt + (isSlow ? Int64(Replayer.mostUnanswered) : 1) * pause
        let isNewDue =
            isFirst || (now >= askedNewAt + pause && (plan.isArriving || unanswered >= Replayer.fewUnanswered))
        guard isOldDue || isNewDue else { return }
        gap?.put(isByOld: isOldDue, seen: standbyPort.seen, now: now)
        if isOldDue { askedOldAt = now }
        if isNewDue { askedNewAt = now }
        let (byStandby, byPrimary) = plan.isArriving ? (isOldDue, isNewDue) : (isNewDue, isOldDue)
        // The standby first: what went to the primary after its question is then after both.
        if byStandby { _ = asks.frame(.standby, number).withUnsafeBytes { standby.send($0) } }
        if !byPrimary || (waitingForPrimary ?? 0) >= Replayer.mostWaiting { return }
        _ = asks.frame(.primary, number).withUnsafeBytes { primary?.send($0) }
    }

    /// What nothing needs any more goes.
    private func forget() {
        var least = sending?.pieces.filter { !$0.isEarly }.map(\.range.lowerBound).min() ?? .max
        if let halted { least = min(least, halted.unread - min(halted.unread, Replayer.margin)) }
        if gap?.isPastOpening == true || (gap == nil && sending?.pieces.contains(where: \.isEarly) != true) {
            earlyRing = nil
        }
        if phase == .arrived {
            // What is being sent is all that is needed.
        } else if gap != nil, phase != .ready {
            guard let kept = gap?.kept else { return }
            least = min(least, kept)
        } else if halted == nil {
            guard let unread = standbyPort.unread else { return }
            least = min(least, unread - min(unread, Replayer.margin))
        }
        if phase == .ready {
            least = standbyPort.seen
            earlyRing?.forget(before: primaryPort?.seen ?? 0)
        }
        ring.forget(before: least)
    }
}
