import CNetlink
import FDB
import Policy
import System

/// Kept frames on their way out.
extension Replayer {
    /// By which port they are sent.
    enum Way { case standby, primary, uplink }

    /// Frames by their numbers on one port.
    struct Piece {
        var range: Range<UInt64>
        /// They left by the primary alone.
        let isEarly: Bool

        init(_ range: Range<UInt64>, isEarly: Bool = false) { (self.range, self.isEarly) = (range, isEarly) }
    }

    struct Sending {
        /// What is left, the oldest first.
        var pieces: [Piece]
        let way: Way
        /// What is seen from now on is sent too, behind the last piece.
        var isOpen: Bool
        let evidenceAt: Int64
        var account: ReplayAccount

        init(_ pieces: [Piece], by way: Way, isOpen: Bool = false, evidenceAt: Int64, account: ReplayAccount) {
            self.pieces = pieces
            (self.way, self.isOpen, self.evidenceAt, self.account) = (way, isOpen, evidenceAt, account)
        }

        /// Everything that was seen until now belongs to it.
        mutating func extend(to end: UInt64) {
            guard isOpen, let last = pieces.indices.last else { return }
            pieces[last].range = pieces[last].range.lowerBound..<end
        }
    }

    func ring(of piece: Piece) -> FrameRing? { piece.isEarly ? earlyRing : ring }

    /// Frames that are sent to a guest's tap in one turn of the loop.
    private static let sentPerTurn = 256
    /// What goes elsewhere waits in a queue of which nothing is seen: half of it at first, and then as much as a guest takes.
    private static let (firstBurst, nextBurst) = (512, 64)
    /// A tap's queue has 1,000 frames unless it was told otherwise.
    private static let queueRoom = 900

    /// The guest takes its standby's frames, and what it missed before is known.
    func judgeGap(now: Int64) {
        guard !plan.isArriving, sending == nil, let missed = gap?.missed else { return }
        let isComplete =
            standbyPort.isComplete(from: missed.late.lowerBound) && primaryPort?.isComplete(from: 0) == true
        endGap()
        guard isComplete else {
            told.append(ReplayAccount(.leaving, refusal: incomplete))
            return
        }
        let early = missed.early.isEmpty ? [] : [Piece(missed.early, isEarly: true)]
        sending = Sending(
            early + [Piece(missed.late)], by: .standby, evidenceAt: now, account: ReplayAccount(.leaving))
    }

    func send(now: Int64) {
        judgeGap(now: now)
        guard var current = sending else { return }
        current.extend(to: standbyPort.seen)
        var room =
            switch current.way {
            case .standby: min(Replayer.sentPerTurn, max(0, Replayer.queueRoom - standbyPort.waiting))
            case .primary where waitingForPrimary != nil:
                min(Replayer.sentPerTurn, max(0, Replayer.queueRoom - (waitingForPrimary ?? 0)))
            case .primary, .uplink: current.account.kept == 0 ? Replayer.firstBurst : Replayer.nextBurst
            }
        while let piece = current.pieces.first {
            let left = send(piece, &current, &room)
            current.pieces[0].range = left
            if !left.isEmpty || (current.isOpen && current.pieces.count == 1) { break }
            if piece.isEarly {
                current.account.dropped += earlyRing?.takeOverflow() ?? 0
                earlyRing = nil
            }
            current.pieces.removeFirst()
        }
        sending = current
        guard current.pieces.isEmpty else { return }
        current.account.dropped += ring.takeOverflow()
        told.append(current.account)
        sending = nil
    }

    /// - Returns: the frames of the piece that are still to be sent.
    private func send(_ piece: Piece, _ current: inout Sending, _ room: inout Int) -> Range<UInt64> {
        let range = piece.range
        var next = range.upperBound
        ring(of: piece)?.forEach(in: range) { frame in
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
