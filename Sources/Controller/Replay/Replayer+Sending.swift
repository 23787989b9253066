import CNetlink
import FDB
import Policy
import System

/// Kept frames on their way out.
extension Replayer {
    /// By which port they are sent.
    enum Way { case standby, primary, uplink }

    struct Sending {
        /// Of those that left by the primary alone, before the others.
        var early: Range<UInt64> = 0..<0
        var range: Range<UInt64>
        let way: Way
        /// What is seen from now on is sent too.
        var isOpen = false
        let evidenceAt: Int64
        var account: ReplayAccount
    }

    /// Frames that are sent to the standby in one turn of the loop.
    private static let sentPerTurn = 256
    /// What goes elsewhere waits in a queue of which nothing is seen: half of it at first, and then as much as a guest takes.
    private static let (firstBurst, nextBurst) = (512, 64)
    /// A tap's queue has 1,000 frames unless it was told otherwise.
    private static let queueRoom = 900

    /// The guest takes its standby's frames, and what it missed before is known.
    func judgeGap(now: Int64) {
        guard !plan.isArriving, sending == nil, let missed = gap?.missed else { return }
        let isComplete = isComplete(from: missed.late.lowerBound) && ear?.isComplete() == true
        endGap()
        guard isComplete else {
            told.append(ReplayAccount(.leaving, refusal: incomplete))
            return
        }
        sending = Sending(
            early: missed.early, range: missed.late, way: .standby, evidenceAt: now,
            account: ReplayAccount(.leaving))
    }

    func send(now: Int64) {
        judgeGap(now: now)
        guard var current = sending else { return }
        if current.isOpen { current.range = current.range.lowerBound..<seen }
        var room = Replayer.sentPerTurn
        if current.way != .standby { room = current.account.kept == 0 ? Replayer.firstBurst : Replayer.nextBurst }
        if current.way == .standby, let counters, let unread = account.unread(counters) {
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
        guard !current.isOpen, current.early.isEmpty, current.range.isEmpty else { return }
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
            if put(frame, by: current.way) {
                current.account.sent += 1
            } else {
                current.account.dropped += 1
            }
            return true
        }
        return next..<range.upperBound
    }

    private func put(_ frame: FrameRing.Kept, by way: Way) -> Bool {
        var tag = frame.tag.type == 0 ? nil : UplinkTagging.Tag(type: frame.tag.type, control: frame.tag.control)
        let header = Int(CN_VNET_HEADER)
        if way != .standby {
            guard let mac = MACAddress(octets: UnsafeRawBufferPointer(rebasing: frame.bytes[header..<header + 6])),
                case .send(let new)? = plan.tagging?.verdict(tag, to: mac)
            else { return false }
            tag = new
        }
        if way == .uplink {
            // Nobody on the way is to learn that the sender is here.
            withUnsafeBytes(of: plan.uplinkMAC.octets) { octets in
                UnsafeMutableRawBufferPointer(rebasing: frame.bytes[(header + 6)..<(header + 12)]).copyMemory(
                    from: octets)
            }
        }
        guard let tag else { return deliver(UnsafeRawBufferPointer(frame.bytes), by: way) }
        let tagged = UnsafeMutableRawBufferPointer(start: buffer.memory, count: frame.bytes.count + 4)
        TaggedFrame.write(UnsafeRawBufferPointer(frame.bytes), type: tag.type, control: tag.control, to: tagged)
        return deliver(UnsafeRawBufferPointer(tagged), by: way)
    }

    private func deliver(_ bytes: UnsafeRawBufferPointer, by way: Way) -> Bool {
        switch way {
        case .standby: standby.send(bytes)
        case .primary: primary?.send(bytes) == true
        case .uplink: uplink?.send(bytes) == true
        }
    }
}
