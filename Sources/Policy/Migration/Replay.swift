package import FDB
package import Switchdev

/// Which frames the reader of a tap has taken, by the tap's counters, without I/O.
///
/// A tap is a queue. Packet sockets see every frame that is put into it, and `tx_packets` counts those that were read from it
/// (`tun_put_user`, drivers/net/tun.c), `tx_dropped` those that found it full. The counters do not say which frames they have
/// counted; but whenever the queue is empty, as many were seen as counted, since the same moment.
package struct TapAccount: Hashable, Sendable {
    /// The least of (seen - sent - dropped) so far.
    private var base: Int64?
    private var last: PortCounters?

    package init() {}

    /// Takes one look.
    ///
    /// - Parameters:
    ///   - counters: read before the last frames were taken from the socket, so that none is counted that was not seen.
    ///   - seen: frames that were seen since the socket was opened.
    package mutating func look(_ counters: PortCounters, seen: UInt64) {
        if let last, counters.hasBegunAgain(since: last) { base = nil }
        last = counters
        let difference = Int64(seen) &- TapAccount.done(counters)
        base = min(base ?? difference, difference)
    }

    /// The first frame, by its number among those that were seen, that had not been read when the counters were; nil: not known.
    package func unread(_ counters: PortCounters) -> UInt64? {
        if let last, counters.hasBegunAgain(since: last) { return nil }
        return base.map { UInt64(max(0, $0 &+ TapAccount.done(counters))) }
    }

    private static func done(_ counters: PortCounters) -> Int64 {
        Int64(truncatingIfNeeded: counters.txPackets &+ counters.txDropped)
    }
}

/// Which frames a guest missed while it gave up its primary, by the questions that it answered, without I/O.
///
/// Question 0 is put by the primary before the bracket is opened, which may take longer than the guest needs. Afterwards each frame
/// leaves by both ports, and questions are put by either or both, by the standby first, in the queue of the frames. The guest took what
/// was before an answered question by the primary, and dropped what was before an unanswered one by the standby. So it missed what the
/// standby carried after the last question by the primary that was answered, up to the first by the standby; and what the primary
/// alone carried, if it answered none since. Each end is uncertain by one pause between two questions, towards sending too much.
///
/// A guest that gets its primary is asked in the same way, and misses what the standby carried after the last answered question by the
/// standby, until it answers by the primary.
package struct GapCourse: Hashable, Sendable {
    /// What a guest missed, by the numbers of frames on each port.
    package struct Missed: Hashable, Sendable {
        /// What the primary alone carried; empty for nothing.
        package let early: Range<UInt64>
        /// What the standby carried.
        package let late: Range<UInt64>

        /// Makes it from its parts.
        package init(early: Range<UInt64> = 0..<0, late: Range<UInt64>) {
            self.early = early
            self.late = late
        }
    }

    private struct Question: Hashable {
        /// What the standby had carried when it was put: the number of its next frame, or of an earlier one.
        var place: UInt64
        let putAt: Int64
        /// Questions by the old side so far, with this one.
        let byOld: Int
    }

    private var questions: [Question] = []
    private var firstPlaces: [UInt64?] = [nil, nil]
    /// The side that the guest leaves.
    private let old: Side
    private var lastByOld: Int?
    private var firstByNew: Int?

    /// The first question that is not older than ``longest``.
    private var recent = 0

    /// Numbers have 16 bits, and none is used twice.
    package static let most = 60_000
    /// A guest's gap is some 40 ms (docs/zero.md). One that has never answered by its primary may have missed so much; nanoseconds.
    package static let longest: Int64 = 250_000_000

    /// - Parameter old: the side that the guest leaves.
    package init(from old: Side = .primary) { self.old = old }

    /// The number of the next question; nil when there are no more.
    package var next: Int? { questions.count < GapCourse.most ? questions.count : nil }
    /// The guest takes frames by its new side.
    package var isOver: Bool { firstByNew != nil }
    /// It has answered by its old side, so its silence there means something; what the primary alone carried is not needed any more.
    package var isPastOpening: Bool { (lastByOld ?? 0) > 0 }

    /// A question is about to be put.
    ///
    /// - Parameters:
    ///   - isByOld: by the side that the guest leaves, perhaps among others.
    ///   - seen: frames that the standby has carried, as far as is known.
    ///   - now: on CLOCK_MONOTONIC, in nanoseconds.
    package mutating func put(isByOld: Bool, seen: UInt64, now: Int64) {
        let before = questions.last?.byOld ?? 0
        questions.append(Question(place: seen, putAt: now, byOld: isByOld ? before + 1 : before))
        while questions[recent].putAt < now - GapCourse.longest { recent += 1 }
    }

    /// A question was seen to leave by a port: frames with smaller numbers left before it.
    package mutating func placed(_ number: Int, by side: Side, at frame: UInt64) {
        guard questions.indices.contains(number) else { return }
        if side == .standby { questions[number].place = frame }
        if side == .primary, firstPlaces.indices.contains(number) { firstPlaces[number] = frame }
    }

    /// A question was answered. Answers by the old side after the new one's first do not count.
    package mutating func answered(_ number: Int, by side: Side) {
        guard questions.indices.contains(number) else { return }
        if side == old {
            if firstByNew == nil { lastByOld = max(lastByOld ?? number, number) }
        } else if number > 0 {
            // Question 0 is put by the old side alone.
            firstByNew = min(firstByNew ?? number, number)
        }
    }

    /// Questions by the old side since the last one that was answered.
    package var unanswered: Int { (questions.last?.byOld ?? 0) - (lastByOld.map { questions[$0].byOld } ?? 0) }

    /// What may be needed of what the standby carried, from this frame on; nil for all of it.
    package var kept: UInt64? {
        if let lastByOld, lastByOld > 0 { return questions[lastByOld].place }
        return recent > 1 ? questions[recent].place : nil
    }

    /// What the guest missed; nil as long as that is not known. Where it answered a question by the standby and none by the primary, it
    /// is everything that was seen, or what was within ``longest``.
    package var missed: Missed? {
        guard let last = firstByNew else { return nil }
        let (end, oldest) = (questions[last].place, questions[last].putAt - GapCourse.longest)
        let isEarly = !isPastOpening && questions[0].putAt >= oldest
        let first =
            isPastOpening ? lastByOld ?? 1 : questions.indices.dropFirst().first { questions[$0].putAt >= oldest } ?? 1
        let begin = questions[first].place
        let early = lastByOld == 0 ? firstPlaces[0] ?? 0 : 0
        return Missed(
            early: isEarly ? early..<max(early, firstPlaces[1] ?? .max) : 0..<0, late: begin..<max(begin, end))
    }
}

/// What a replay has come to.
package struct ReplayAccount: Hashable, Sendable {
    /// The part of a migration.
    package enum Part: String, Hashable, Sendable, CaseIterable {
        /// The guest had given up its primary and did not take its standby's frames yet.
        case leaving
        /// The guest was stopped.
        case blackout
        /// The guest had a primary without carrier.
        case arriving
    }

    /// The part.
    package let part: Part
    /// Frames that the guest missed, as far as they were kept.
    package var kept = 0
    /// Those that were sent again.
    package var sent = 0
    /// Those that were not: there was no room for them, or no port took them.
    package var dropped = 0
    /// From the evidence to the first frame that was sent again, in nanoseconds.
    package var delay: Int64 = 0
    /// Why nothing was sent again; nil where something was, or nothing was missed.
    package var refusal: String?

    /// - Parameter refusal: why nothing is sent again.
    package init(_ part: Part, refusal: String? = nil) {
        self.part = part
        self.refusal = refusal
    }
}

/// The tag with which a frame that left by a guest's port goes out by the uplink, without I/O.
package struct UplinkTagging: Hashable, Sendable {
    /// A tag as it is in a frame: the type, and priority and VLAN.
    package struct Tag: Hashable, Sendable {
        /// 0x8100 (IEEE 802.1Q) or 0x88a8 (802.1ad).
        package let type: UInt16
        /// Priority, drop eligibility and VLAN.
        package let control: UInt16

        /// Makes a tag from its parts.
        package init(type: UInt16, control: UInt16) {
            self.type = type
            self.control = control
        }
    }

    /// What is to be done with a frame.
    package enum Verdict: Hashable, Sendable {
        /// Send it with this tag.
        case send(Tag?)
        /// It cannot be told which VLAN it is of, or the uplink is no member of that.
        case drop
    }

    private let filters: Bool
    private let tagType: UInt16
    private let own: PortVLANs
    private let uplink: PortVLANs
    private let vlans: [MACAddress: Set<VLANID>]

    /// - Parameters:
    ///   - filters: the bridge filters VLANs; otherwise frames keep the tag that they have.
    ///   - tagType: the bridge's.
    ///   - own: the VLANs of the guest's port.
    ///   - uplink: those of the uplink.
    ///   - addresses: the guest's.
    package init(filters: Bool, tagType: UInt16, own: PortVLANs, uplink: PortVLANs, addresses: [Address]) {
        self.filters = filters
        self.tagType = tagType
        self.own = own
        self.uplink = uplink
        var vlans: [MACAddress: Set<VLANID>] = [:]
        for address in addresses {
            if let vlan = address.vlan { vlans[address.mac, default: []].insert(vlan) }
        }
        self.vlans = vlans
    }

    /// - Parameters:
    ///   - tag: with which the frame left by the guest's port.
    ///   - destination: one of the guest's MACs.
    package func verdict(_ tag: Tag?, to destination: MACAddress) -> Verdict {
        guard filters else { return .send(tag) }
        let isTagged = tag?.type == tagType
        guard let vlan = isTagged ? tag.flatMap({ VLANID(rawValue: $0.control & 0xfff) }) : untagged(destination),
            uplink.members.contains(vlan)
        else { return .drop }
        let isInner = !isTagged && tag != nil
        if uplink.untagged.contains(vlan) { return .send(isTagged ? nil : tag) }
        // A frame has one tag in its metadata; a second one would have to be put inside.
        if isInner { return .drop }
        return .send(Tag(type: tagType, control: (tag.map { $0.control & 0xf000 } ?? 0) | vlan.rawValue))
    }

    private func untagged(_ destination: MACAddress) -> VLANID? {
        let known = (vlans[destination] ?? []).intersection(own.untagged)
        if known.count == 1 { return known.first }
        return own.untagged.count == 1 ? own.untagged.first : nil
    }
}
