import FDB
import Policy
import Switchdev
import Testing

/// Which frames a guest has missed, from what was seen, counted and answered.
@Suite struct ReplayTests {
    private static func counters(sent: UInt64, dropped: UInt64 = 0) -> PortCounters {
        PortCounters(rxPackets: 7, txPackets: sent, rxDropped: 0, txDropped: dropped)
    }

    // MARK: - Read from a tap

    @Test func whatWasNotReadFollowsFromTheCountersOnceTheQueueWasEmpty() {
        var account = TapAccount()
        #expect(account.unread(ReplayTests.counters(sent: 1000)) == nil)
        // Ten were seen, and seven of them read; then all.
        account.look(ReplayTests.counters(sent: 1007), seen: 10)
        account.look(ReplayTests.counters(sent: 1020), seen: 20)
        account.look(ReplayTests.counters(sent: 1025), seen: 30)
        #expect(account.unread(ReplayTests.counters(sent: 1026)) == 26)
        // A frame that found the queue full is no longer waited for.
        #expect(account.unread(ReplayTests.counters(sent: 1026, dropped: 2)) == 28)
    }

    @Test func framesThatWaitedBeforeAnybodyLookedAreNotCountedAsSeen() {
        var account = TapAccount()
        // Five were in the queue when the socket was opened: the first ten that are read have five of those.
        account.look(ReplayTests.counters(sent: 100), seen: 0)
        account.look(ReplayTests.counters(sent: 110), seen: 5)
        #expect(account.unread(ReplayTests.counters(sent: 110)) == 5)
        #expect(account.unread(ReplayTests.counters(sent: 112)) == 7)
    }

    @Test func countersThatBeginAgainSayNothingOfWhatWasBefore() {
        var account = TapAccount()
        account.look(ReplayTests.counters(sent: 1000), seen: 0)
        #expect(account.unread(ReplayTests.counters(sent: 3)) == nil)
        account.look(ReplayTests.counters(sent: 3), seen: 8)
        #expect(account.unread(ReplayTests.counters(sent: 4)) == 9)
    }

    /// A queue that is read at random, of which each look sees a bit more than the counters say.
    @Test func neverMoreIsTakenForReadThanWas() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            var (account, put, read) = (TapAccount(), 0, 0)
            for _ in 0..<300 {
                put += Int.random(in: 0...3, using: &random)
                let counters = ReplayTests.counters(sent: UInt64(5000 + read))
                put += Int.random(in: 0...1, using: &random)
                account.look(counters, seen: UInt64(put))
                read = min(put, read + Int.random(in: 0...6, using: &random))
            }
            let halted = ReplayTests.counters(sent: UInt64(5000 + read))
            let unread = Int(account.unread(halted) ?? 0)
            // What is sent again begins with the first that was not read, or a few frames later if the queue was never empty.
            #expect(unread >= read && unread <= read + 3)
        }
    }

    // MARK: - The gap

    private typealias Missed = GapCourse.Missed

    /// Question 0 by the primary behind its frame 4, and pairs, the first behind frame 9 of the primary and frame 1 of the standby, and
    /// after that one behind every second frame of the standby.
    private func course(pairs: Int) -> GapCourse {
        var course = GapCourse()
        course.put(isByOld: true, seen: 0, now: 0)
        course.placed(0, by: .primary, at: 5)
        for pair in 1...pairs {
            #expect(course.next == pair)
            course.put(isByOld: true, seen: 0, now: Int64(pair) * 1_000_000)
            course.placed(pair, by: .standby, at: UInt64(3 * pair - 1))
            course.placed(pair, by: .primary, at: UInt64(3 * pair + 7))
        }
        return course
    }

    @Test func missedIsWhatIsBetweenTheLastAnswerByThePrimaryAndTheFirstByTheStandby() {
        var course = course(pairs: 10)
        #expect(course.missed == nil && course.kept == nil && !course.isPastOpening)
        for pair in [0, 1, 2, 4, 3] { course.answered(pair, by: .primary) }
        #expect(course.kept == 11 && course.missed == nil && !course.isOver && course.isPastOpening)
        course.answered(8, by: .standby)
        #expect(course.missed == Missed(late: 11..<23) && course.isOver)
        // What comes later changes nothing, but for an earlier question that was answered late.
        course.answered(6, by: .primary)
        course.answered(9, by: .standby)
        #expect(course.missed == Missed(late: 11..<23))
        course.answered(7, by: .standby)
        #expect(course.missed == Missed(late: 11..<20))
    }

    @Test func whoTakesBothMissesNothing() {
        var course = course(pairs: 4)
        course.answered(2, by: .primary)
        course.answered(2, by: .standby)
        #expect(course.missed?.late.isEmpty == true && course.missed?.early.isEmpty == true)
    }

    @Test func whoAnsweredBeforeTheBracketAloneMissedWhatThePrimaryAloneCarriedSince() {
        var course = course(pairs: 5)
        course.answered(0, by: .primary)
        #expect(!course.isPastOpening && course.kept == nil)
        course.answered(3, by: .standby)
        #expect(course.missed == Missed(early: 5..<10, late: 2..<8))
    }

    @Test func withoutAnAnswerByThePrimaryEverythingOfTheLastMomentsWasMissed() {
        var few = course(pairs: 5)
        few.answered(4, by: .standby)
        #expect(few.missed == Missed(early: 0..<10, late: 2..<11))
        var many = course(pairs: 1000)
        many.answered(1000, by: .standby)
        #expect(many.missed == Missed(late: 2249..<2999))
        #expect(many.kept == 2249)
    }

    /// A question by the primary alone stands where the standby was known to be, which is no later than where it was.
    @Test func aQuestionByOneSideHasAPlaceOnTheStandby() {
        var course = GapCourse()
        for number in 0..<4 { course.put(isByOld: number < 3, seen: UInt64(10 * number), now: 0) }
        course.placed(1, by: .standby, at: 12)
        #expect(course.unanswered == 3)
        course.answered(1, by: .primary)
        #expect(course.kept == 12 && course.unanswered == 1)
        course.answered(2, by: .primary)
        #expect(course.kept == 20 && course.unanswered == 0)
        course.answered(3, by: .standby)
        course.placed(3, by: .standby, at: 33)
        #expect(course.missed == Missed(late: 20..<33))
    }

    @Test func whoGetsItsPrimaryMissesWhatTheStandbyCarriedSinceItsLastAnswerThere() {
        var course = GapCourse(from: .standby)
        course.put(isByOld: false, seen: 0, now: 0)
        for pair in 1...6 {
            course.put(isByOld: true, seen: 0, now: 0)
            course.placed(pair, by: .standby, at: UInt64(3 * pair - 1))
            course.placed(pair, by: .primary, at: UInt64(pair))
        }
        #expect(!course.isPastOpening && course.kept == nil)
        for pair in [1, 3, 2] { course.answered(pair, by: .standby) }
        #expect(course.isPastOpening && !course.isOver && course.kept == 8)
        course.answered(5, by: .primary)
        #expect(course.isOver)
        // An answer that was on its way when the primary's came.
        course.answered(4, by: .standby)
        #expect(course.kept == 8)
    }

    @Test func numbersThatWereNotPutAreNobodys() {
        var course = course(pairs: 3)
        course.answered(4, by: .standby)
        course.answered(60_001, by: .primary)
        // Nobody put question 0 by the standby.
        course.answered(0, by: .standby)
        course.placed(4, by: .standby, at: 9)
        #expect(!course.isOver && !course.isPastOpening)
        for _ in 4..<GapCourse.most { course.put(isByOld: false, seen: 0, now: 0) }
        #expect(course.next == nil)
    }

    // MARK: - Tags

    private static let mac = MACAddress(value: 0x5254_0000_0001)
    private static func vlan(_ number: UInt16) throws -> VLANID { try #require(VLANID(rawValue: number)) }
    private typealias Tag = UplinkTagging.Tag

    private func tagging(
        filters: Bool = true, type: UInt16 = 0x8100, own: PortVLANs, uplink: PortVLANs, vlans: [UInt16?]
    ) throws -> UplinkTagging {
        UplinkTagging(
            filters: filters, tagType: type, own: own, uplink: uplink,
            addresses: try vlans.map { try Address(mac: ReplayTests.mac, vlan: $0.map { try ReplayTests.vlan($0) }) })
    }

    @Test func withoutVLANsAFrameKeepsItsTag() throws {
        let plain = try tagging(filters: false, own: PortVLANs(), uplink: PortVLANs(), vlans: [nil])
        #expect(plain.verdict(nil, to: ReplayTests.mac) == .send(nil))
        let tag = Tag(type: 0x8100, control: 7)
        #expect(plain.verdict(tag, to: ReplayTests.mac) == .send(tag))
    }

    @Test func aFrameGetsTheTagOfThePortThatItIsSentBy() throws {
        let (one, two) = try (ReplayTests.vlan(1), ReplayTests.vlan(20))
        let own = PortVLANs(members: [one, two], pvid: two, untagged: [two])
        let trunk = PortVLANs(members: [one, two], pvid: one, untagged: [one])
        let tagging = try tagging(own: own, uplink: trunk, vlans: [20])
        #expect(tagging.verdict(nil, to: ReplayTests.mac) == .send(Tag(type: 0x8100, control: 20)))
        // The other way round, and with its priority where it stays tagged.
        #expect(tagging.verdict(Tag(type: 0x8100, control: 1), to: ReplayTests.mac) == .send(nil))
        let tagged = try self.tagging(
            own: own, uplink: PortVLANs(members: [one, two], untagged: []), vlans: [20])
        let priority = Tag(type: 0x8100, control: 0xa001)
        #expect(tagged.verdict(priority, to: ReplayTests.mac) == .send(priority))
        let provider = try self.tagging(type: 0x88a8, own: own, uplink: trunk, vlans: [20])
        #expect(provider.verdict(nil, to: ReplayTests.mac) == .send(Tag(type: 0x88a8, control: 20)))
    }

    @Test func aFrameOfNoKnownVLANIsNotSent() throws {
        let (one, two) = try (ReplayTests.vlan(1), ReplayTests.vlan(20))
        let both = PortVLANs(members: [one, two], pvid: two, untagged: [one, two])
        #expect(try tagging(own: both, uplink: both, vlans: [1, 20]).verdict(nil, to: ReplayTests.mac) == .drop)
        let elsewhere = PortVLANs(members: [one], untagged: [one])
        #expect(try tagging(own: both, uplink: elsewhere, vlans: [20]).verdict(nil, to: ReplayTests.mac) == .drop)
    }
}
