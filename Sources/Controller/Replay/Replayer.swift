import CNetlink
import FDB
import Glibc
import Netlink
package import Policy
import Switchdev
import System

/// Keeps what one guest may miss while it migrates away, and sends it again to where it takes it (docs/zero.md): to its standby once it
/// has let go of its primary, and by the uplink once it runs on the other host. What is to be sent is judged by ``GapCourse`` and
/// ``TapAccount``.
///
/// Nobody is woken by a frame: the loop comes by each millisecond, or five while nothing depends on it.
package final class Replayer {
    private enum Phase { case leaving, migrating, stopped, departed, over }

    /// Kept frames on their way out.
    private struct Sending {
        /// Of those that left by the primary alone, before the others.
        var early: Range<UInt64> = 0..<0
        var range: Range<UInt64>
        let isByUplink: Bool
        let evidenceAt: Int64
        var account: ReplayAccount
    }

    let plan: ReplayPlan
    private let buffer: CaptureBuffer
    private let ring: FrameRing
    private var capture: CaptureSocket
    /// Hears answers that come by the primary.
    private var ear: CaptureSocket?
    /// What left by the primary, until a frame leaves by both ports.
    private var earlyRing: FrameRing?
    private var seenEarly: UInt64 = 0
    private let standby: ReplaySocket
    private let primary: ReplaySocket?
    private let uplink: ReplaySocket?
    private var phase: Phase
    private var gap: GapCourse?
    private var account = TapAccount()
    private var counters: PortCounters?
    /// Frames that left by the standby's port since the socket was opened.
    private var seen: UInt64 = 0
    /// Every frame was seen from this one on; nil while frames were dropped that are among those to be read.
    private var completeFrom: UInt64? = 0
    private var sending: Sending?
    private var nextPair: Int64 = 0
    private var end: Int64 = .max
    /// How the tap was when QEMU stopped the guest: the first frame that was not read, and frames read until then.
    private var halted: (unread: UInt64, read: UInt64)?
    /// Why what the guest misses while it is stopped cannot be told; nil where it can.
    package var refusal: String?
    private var told: [ReplayAccount] = []

    private static let hotPause: Int64 = 1_000_000
    private static let calmPause: Int64 = 5_000_000
    /// How long frames are sent after the guest that still left by its old port, in nanoseconds.
    private static let tail: Int64 = 1_000_000_000
    /// Frames that are read, and sent, in one turn of the loop.
    private static let takenPerTurn = 1024
    private static let sentPerTurn = 256
    /// What goes to the other host waits in its tap's queue, of which nothing is seen here: half of a queue at first, and then as much as
    /// a guest takes.
    private static let (firstBurst, nextBurst) = (512, 64)
    /// A tap's queue has 1,000 frames unless it was told otherwise.
    private static let queueRoom = 900
    /// QEMU reads one frame more as it stops, sometimes before it says so (measured: 34 of 38 times). Sent twice it costs one duplicate.
    private static let margin: UInt64 = 1
    /// Frames read after that, besides: somebody reads them for the guest.
    private static let lateReads: UInt64 = 2

    /// - Throws: ``NetlinkError`` of code `system`.
    init(_ plan: ReplayPlan, through buffer: CaptureBuffer, now: Int64) throws(NetlinkError) {
        guard let ring = FrameRing() else {
            throw NetlinkError(.system, "no memory for frames", errno: KernelErrno(rawValue: ENOMEM))
        }
        self.plan = plan
        self.buffer = buffer
        self.ring = ring
        standby = try ReplaySocket(on: plan.standby.index, named: plan.standby.name)
        primary = try plan.gap.map { _ throws(NetlinkError) in
            try ReplaySocket(on: plan.primary.index, named: plan.primary.name)
        }
        uplink = try plan.uplink.map { uplink throws(NetlinkError) in
            try ReplaySocket(on: uplink.index, named: uplink.name)
        }
        if plan.gap != nil {
            ear = try CaptureSocket(on: plan.primary.index, named: plan.primary.name, to: plan.macs)
            earlyRing = FrameRing()
            gap = GapCourse()
        }
        capture = try CaptureSocket(on: plan.standby.index, named: plan.standby.name, to: plan.macs)
        phase = plan.gap == nil ? .migrating : .leaving
        nextPair = now
        guard let asks = plan.gap else { return }
        gap?.put()
        _ = asks.frame(.primary, 0).withUnsafeBytes { primary?.send($0) }
    }

    /// When to call ``Keeper/advance(_:now:)``, on CLOCK_MONOTONIC in nanoseconds; nil once it is over.
    package private(set) var due: Int64? = 0

    /// What has come to an end since this was last asked.
    package func takeAccounts() -> [ReplayAccount] {
        defer { told = [] }
        return told
    }

    /// When the guest gives up its primary cannot be told.
    func refuseLeaving(_ reason: String) { told.append(ReplayAccount(.leaving, refusal: reason)) }

    // MARK: - What happens to the guest

    /// It has given up its primary, or had none, and is being copied.
    package func migrates() {
        guard phase == .leaving else { return }
        phase = .migrating
        if let gap, !gap.isOver {
            told.append(ReplayAccount(.leaving, refusal: "the guest did not say when it took its standby's frames"))
        }
        endGap()
    }

    private func endGap() {
        gap = nil
        ear = nil
    }

    /// QEMU has stopped it.
    func stops(using socket: inout CommandSocket) {
        guard phase == .migrating else { return }
        look(using: &socket)
        phase = .stopped
        guard let counters, let unread = account.unread(counters) else { return }
        halted = (unread, counters.txPackets)
    }

    /// It runs on here.
    package func runsOn() {
        if phase == .stopped { phase = .migrating }
        halted = nil
    }

    /// It was seen on another host.
    func departs(now: Int64, using socket: inout CommandSocket) {
        guard phase == .stopped else { return finish() }
        look(using: &socket)
        phase = .departed
        end = now + Replayer.tail
        guard let refusal = refusalToSend() else {
            let begin = (halted?.unread ?? 0)
            sending = Sending(
                range: begin - min(begin, Replayer.margin)..<seen, isByUplink: true, evidenceAt: now,
                account: ReplayAccount(.blackout))
            send(now: now)
            return
        }
        told.append(ReplayAccount(.blackout, refusal: refusal))
        finish()
    }

    private func refusalToSend() -> String? {
        if let refusal { return refusal }
        if uplink == nil { return "the guest has no uplink" }
        guard let halted else { return "it is not known what was read from \(plan.standby.name)" }
        if !isComplete(from: halted.unread) { return incomplete }
        if let counters, counters.txPackets > halted.read + Replayer.lateReads {
            return "\(plan.standby.name) was read after the guest had been stopped"
        }
        return nil
    }

    private var incomplete: String { "frames of \(plan.standby.name) came faster than they could be kept" }

    private func isComplete(from number: UInt64) -> Bool { completeFrom.map { $0 <= number } ?? false }

    /// Nothing is sent by the uplink after all, for a reason; what is being sent already is.
    package func giveUp(_ reason: String) {
        guard phase != .departed, phase != .over else { return }
        if phase == .leaving, gap != nil {
            told.append(ReplayAccount(.leaving, refusal: reason))
        } else {
            told.append(ReplayAccount(.blackout, refusal: reason))
        }
        finish()
    }

    /// Nothing more is kept, and what was kept is gone.
    private func finish() {
        if let sending {
            var account = sending.account
            ring.forEach(in: sending.range) { _ in
                account.dropped += 1
                return true
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

    // MARK: - The loop

    /// Takes what was seen, asks, and sends what is to be sent.
    func advance(now: Int64, using socket: inout CommandSocket) {
        guard phase != .over else { return }
        look(using: &socket)
        if phase == .leaving { followGap(now: now) }
        send(now: now)
        forget()
        if phase == .departed, now >= end { return finish() }
        due = now + (phase == .migrating && sending == nil ? Replayer.calmPause : Replayer.hotPause)
    }

    private func look(using socket: inout CommandSocket) {
        // The counters first: what is counted was seen then.
        counters = (try? PortCounters.read([plan.standby.index], using: &socket))?.first ?? nil
        var left = Replayer.takenPerTurn
        while left > 0 {
            let count = capture.take(through: buffer) { frame, details in take(frame, details) }
            left -= count
            if count < Int(CN_CAPTURE_MOST) { break }
        }
        if !capture.isComplete() { completeFrom = nil }
        // What was not read yet is missing in the sum.
        if left > 0 {
            if completeFrom == nil {
                completeFrom = seen
                account = TapAccount()
            }
            if let counters { account.look(counters, seen: seen) }
        }
        guard gap != nil else { return }
        left = Replayer.takenPerTurn
        while left > 0 {
            let count = ear?.take(through: buffer) { frame, details in takeEarly(frame, details) } ?? 0
            left -= count
            if count < Int(CN_CAPTURE_MOST) { break }
        }
    }

    private func takeEarly(_ frame: UnsafeMutableRawBufferPointer, _ details: cn_captured) {
        guard details.outgoing != 0 else { return hear(frame) }
        guard gap?.isPastOpening == false else { return }
        let number = seenEarly
        seenEarly += 1
        let content = UnsafeRawBufferPointer(rebasing: frame[Int(CN_VNET_HEADER)...])
        if plan.isOfGuest(content), details.truncated == 0 {
            earlyRing?.keep(UnsafeRawBufferPointer(frame), number: number, tag: (details.tag_type, details.tag))
        } else if let pair = plan.pair(of: content, from: .primary) {
            gap?.placed(pair, by: .primary, at: number)
        }
    }

    private func take(_ frame: UnsafeMutableRawBufferPointer, _ details: cn_captured) {
        guard details.outgoing != 0 else { return hear(frame) }
        let number = seen
        seen += 1
        let content = UnsafeRawBufferPointer(rebasing: frame[Int(CN_VNET_HEADER)...])
        if plan.isOfGuest(content) {
            guard details.truncated == 0 else { return }
            ring.keep(UnsafeRawBufferPointer(frame), number: number, tag: (details.tag_type, details.tag))
        } else if let pair = plan.pair(of: content, from: .standby) {
            gap?.placed(pair, by: .standby, at: number)
        }
    }

    private func hear(_ frame: UnsafeMutableRawBufferPointer) {
        let content = UnsafeRawBufferPointer(rebasing: frame[Int(CN_VNET_HEADER)...])
        guard let (side, pair) = plan.answer(content) else { return }
        gap?.answered(pair, by: side)
    }

    private func followGap(now: Int64) {
        guard let asks = plan.gap, gap?.isOver == false else { return }
        guard now >= nextPair, let pair = gap?.next else { return }
        nextPair = now + Replayer.hotPause
        gap?.put()
        // The standby first: what went to the primary after its question is then after both.
        _ = asks.frame(.standby, pair).withUnsafeBytes { standby.send($0) }
        _ = asks.frame(.primary, pair).withUnsafeBytes { primary?.send($0) }
    }

    /// The guest takes its standby's frames, and what it missed before is known.
    private func judgeGap(now: Int64) {
        guard sending == nil, let missed = gap?.missed else { return }
        let isComplete = isComplete(from: missed.late.lowerBound) && ear?.isComplete() == true
        endGap()
        guard isComplete else {
            told.append(ReplayAccount(.leaving, refusal: incomplete))
            return
        }
        sending = Sending(
            early: missed.early, range: missed.late, isByUplink: false, evidenceAt: now,
            account: ReplayAccount(.leaving))
    }

    /// What nothing needs any more goes.
    private func forget() {
        var least = sending?.range.lowerBound ?? .max
        if let halted { least = min(least, halted.unread - min(halted.unread, Replayer.margin)) }
        if gap?.isPastOpening == true { earlyRing = nil }
        if phase == .leaving, gap != nil {
            guard let kept = gap?.kept else { return }
            least = min(least, kept)
        } else if halted == nil {
            guard let counters, let unread = account.unread(counters) else { return }
            least = min(least, unread - min(unread, Replayer.margin))
        }
        ring.forget(before: least)
    }

    // MARK: - Sending

    private func send(now: Int64) {
        judgeGap(now: now)
        guard var current = sending else { return }
        if current.isByUplink { current.range = current.range.lowerBound..<seen }
        var room = Replayer.sentPerTurn
        if current.isByUplink { room = current.account.kept == 0 ? Replayer.firstBurst : Replayer.nextBurst }
        if !current.isByUplink, let counters, let unread = account.unread(counters) {
            room = min(room, max(0, Replayer.queueRoom - Int(seen - min(seen, unread))))
        }
        if !current.early.isEmpty {
            current.early = send(current.early, of: earlyRing, &current, &room)
            if current.early.isEmpty {
                current.account.dropped += earlyRing?.takeOverflow() ?? 0
                earlyRing = nil
            }
        }
        if current.early.isEmpty { current.range = send(current.range, of: ring, &current, &room) }
        sending = current
        guard !current.isByUplink, current.early.isEmpty, current.range.isEmpty else { return }
        current.account.dropped += ring.takeOverflow()
        told.append(current.account)
        sending = nil
    }

    /// - Returns: what is left of the range.
    private func send(
        _ range: Range<UInt64>, of ring: FrameRing?, _ current: inout Sending, _ room: inout Int
    ) -> Range<UInt64> {
        var next = range.upperBound
        ring?.forEach(in: range) { frame in
            guard room > 0 else {
                next = frame.number
                return false
            }
            room -= 1
            if current.account.kept == 0 { current.account.delay = monotonicNanoseconds() - current.evidenceAt }
            current.account.kept += 1
            if put(frame, byUplink: current.isByUplink) {
                current.account.sent += 1
            } else {
                current.account.dropped += 1
            }
            return true
        }
        return next..<range.upperBound
    }

    private func put(_ frame: FrameRing.Kept, byUplink: Bool) -> Bool {
        var tag = frame.tag.type == 0 ? nil : UplinkTagging.Tag(type: frame.tag.type, control: frame.tag.control)
        let header = Int(CN_VNET_HEADER)
        if byUplink {
            guard let mac = MACAddress(octets: UnsafeRawBufferPointer(rebasing: frame.bytes[header..<header + 6])),
                case .send(let new)? = plan.tagging?.verdict(tag, to: mac)
            else { return false }
            tag = new
            // Nobody on the way is to learn that the sender is here.
            withUnsafeBytes(of: plan.uplinkMAC.octets) { octets in
                UnsafeMutableRawBufferPointer(rebasing: frame.bytes[(header + 6)..<(header + 12)]).copyMemory(
                    from: octets)
            }
        }
        guard let tag else { return deliver(UnsafeRawBufferPointer(frame.bytes), byUplink: byUplink) }
        let tagged = UnsafeMutableRawBufferPointer(start: buffer.memory, count: frame.bytes.count + 4)
        TaggedFrame.write(UnsafeRawBufferPointer(frame.bytes), type: tag.type, control: tag.control, to: tagged)
        return deliver(UnsafeRawBufferPointer(tagged), byUplink: byUplink)
    }

    private func deliver(_ bytes: UnsafeRawBufferPointer, byUplink: Bool) -> Bool {
        byUplink ? uplink?.send(bytes) == true : standby.send(bytes)
    }
}
