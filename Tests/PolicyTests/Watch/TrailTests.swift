import FDB
import Switchdev
import Testing

@testable import Policy

/// What signs of an address prove, as docs/evidence.md has it.
@Suite struct TrailTests {
    private static let limits = Trail.Limits()
    private static let millisecond: Int64 = 1_000_000

    /// A sign, some milliseconds after the beginning.
    private enum Sign {
        case abroad
        case home
        case announced
        case claim
        case answer
    }

    private static func trail(_ signs: [(Int64, Sign)]) -> Trail {
        var trail = Trail()
        for (time, sign) in signs {
            let now = time * millisecond
            switch sign {
            case .abroad: trail.heardAbroad(at: now)
            case .home: trail.heardAtHome(at: now, limits: limits)
            case .announced: trail.heardAtHome(at: now, announcements: 1, limits: limits)
            case .answer: trail.answeredAtHome(at: now, limits: limits)
            case .claim: trail.claimedAbroad(at: now)
            }
        }
        return trail
    }

    private static func series(_ sign: Sign, from: Int64 = 0, every pause: Int64, count: Int64) -> [(Int64, Sign)] {
        (0..<count).map { (from + $0 * pause, sign) }
    }

    private static func departure(_ signs: [(Int64, Sign)], at time: Int64) -> Trail.Verdict {
        trail(signs).departure(at: time * millisecond, limits)
    }

    private static func arrival(
        _ signs: [(Int64, Sign)], at time: Int64, isAdvertised: Bool = false
    ) -> Trail.Verdict {
        trail(signs).arrival(at: time * millisecond, limits, isAdvertised: isAdvertised)
    }

    @Test func anAnswerProvesThatTheGuestIsHere() {
        #expect(TrailTests.arrival([(0, .answer)], at: 1) == .believe)
        // The uplink spoke afterwards, or it is long ago.
        #expect(TrailTests.arrival([(0, .answer), (5, .abroad)], at: 6) != .believe)
        #expect(TrailTests.arrival([(0, .answer)], at: 1100) == .restore)
        // A guest that says nothing of itself, once in five seconds.
        let spoofed = TrailTests.series(.abroad, every: 50, count: 2000)
        let answers = TrailTests.series(.answer, from: 7, every: 5000, count: 20)
        let signs = (spoofed + answers).sorted { $0.0 < $1.0 }
        for count in stride(from: 1, to: signs.count, by: 50) {
            #expect(TrailTests.departure(Array(signs.prefix(count)), at: signs[count - 1].0) != .believe)
        }
    }

    @Test func aFrameByTheUplinkProvesNothing() {
        #expect(TrailTests.departure([(0, .abroad)], at: 0) == .restore)
        // A second one, and silence: the entry follows it for a second, as on a bridge that learns.
        #expect(
            TrailTests.departure([(0, .abroad), (10, .abroad)], at: 11) == .leave(until: 1010 * TrailTests.millisecond))
        #expect(TrailTests.departure([(0, .abroad), (10, .abroad)], at: 1010) == .restore)
    }

    /// 1 to 100 frames at any spacing, beside a guest that sends.
    @Test(arguments: [1, 10, 50, 500, 2000] as [Int64], [1, 2, 100] as [Int64])
    func noNumberOfFramesSendsAGuestAwayThatSpeaks(_ spacing: Int64, _ count: Int64) {
        let spoofed = TrailTests.series(.abroad, every: spacing, count: count)
        for pace in [50, 900, 20_000] as [Int64] {
            let own = TrailTests.series(.home, from: 7, every: pace, count: 1 + spacing * count / pace)
            let signs = (spoofed + own).sorted { $0.0 < $1.0 }
            for (index, sign) in signs.enumerated() {
                let verdict = TrailTests.departure(Array(signs[...index]), at: sign.0)
                #expect(verdict != .believe, "\(sign)")
                if case .home = sign.1 { #expect(verdict == .restore) }
            }
        }
    }

    @Test func silenceWhileTheUplinkGoesOnProvesADeparture() {
        let gone = TrailTests.series(.abroad, every: 500, count: 61)
        #expect(TrailTests.departure(gone, at: 30_000) == .believe)
        #expect(TrailTests.departure(gone.dropLast(), at: 29_999) != .believe)
        // It spoke in between.
        #expect(TrailTests.departure((gone + [(15_100, .home)]).sorted { $0.0 < $1.0 }, at: 30_000) != .believe)
        // Two frames half a minute apart are none that go on.
        #expect(TrailTests.departure([(0, .abroad), (30_000, .abroad)], at: 30_000) != .believe)
    }

    @Test func aControlPlaneIsFollowedUnlessTheGuestSpeaks() {
        #expect(TrailTests.departure([(5, .claim)], at: 6) == .leave(until: 1005 * TrailTests.millisecond))
        #expect(TrailTests.departure([(5, .claim)], at: 1005) == .believe)
        #expect(TrailTests.departure([(0, .home), (5, .claim)], at: 1005) == .believe)
        #expect(TrailTests.departure([(5, .claim), (6, .home)], at: 7) == .restore)
        #expect(TrailTests.departure([(5, .claim), (6, .home)], at: 5000) == .restore)
    }

    @Test func aFrameOfItsOwnPortIsNoArrival() {
        #expect(TrailTests.arrival([(0, .home)], at: 1) == .leave(until: 1000 * TrailTests.millisecond))
        #expect(TrailTests.arrival([(0, .home)], at: 1000) == .restore)
        #expect(TrailTests.arrival([(0, .home), (500, .abroad)], at: 1001) == .restore)
        // What a pod's kernel sends: duplicate address detection, MLD reports, router solicitations.
        let pod: [(Int64, Sign)] = [
            (0, .home), (300, .home), (700, .home), (900, .home), (1600, .home), (5600, .home), (9600, .home),
        ]
        for (index, sign) in pod.enumerated() {
            #expect(TrailTests.arrival(Array(pod[...index]), at: sign.0) != .believe, "\(sign)")
        }
    }

    /// In an EVPN fabric the frame has moved the fabric's route: to put the entry back leaves nobody with one.
    @Test func whatAControlPlaneHasAdvertisedStaysUntilItIsContradicted() {
        let patient = Trail.Verdict.leave(until: 30_000 * TrailTests.millisecond)
        #expect(TrailTests.arrival([(0, .home)], at: 1000, isAdvertised: true) == patient)
        #expect(TrailTests.arrival([(0, .home), (2000, .home)], at: 29_999, isAdvertised: true) == patient)
        #expect(TrailTests.arrival([(0, .home)], at: 30_000, isAdvertised: true) == .believe)
        #expect(TrailTests.arrival([(0, .home), (500, .abroad)], at: 1001, isAdvertised: true) == .restore)
    }

    @Test func whoGoesOnSpeakingHasArrived() {
        // QEMU's announcement.
        #expect(TrailTests.arrival([(0, .home), (50, .announced), (200, .announced)], at: 200) == .believe)
        #expect(TrailTests.arrival(TrailTests.series(.home, every: 50, count: 21), at: 1000) == .believe)
        #expect(TrailTests.arrival(TrailTests.series(.home, every: 900, count: 8), at: 6300) == .believe)
        // Seldom, but nobody else.
        #expect(TrailTests.arrival(TrailTests.series(.home, every: 10_000, count: 4), at: 30_000) == .believe)
        // Somebody else sends by the uplink: the own port is believed, later.
        let theirs = TrailTests.series(.abroad, every: 900, count: 11)
        let signs = (TrailTests.series(.home, every: 50, count: 201) + theirs).sorted { $0.0 < $1.0 }
        #expect(TrailTests.arrival(signs.filter { $0.0 <= 9000 }, at: 9000) != .believe)
        #expect(TrailTests.arrival(signs, at: 10_000) == .believe)
    }

    @Test func anAddressOfAGuestThatSpeaksByOthersIsElsewhereAlone() {
        let trail = TrailTests.trail(TrailTests.series(.abroad, from: 1000, every: 1000, count: 31))
        #expect(trail.departure(at: 31_000 * TrailTests.millisecond, TrailTests.limits) == .believe)
        #expect(trail.isContradicted(byOwnSignAt: 20_000 * TrailTests.millisecond))
        #expect(!trail.isContradicted(byOwnSignAt: 500 * TrailTests.millisecond))
    }

    @Test func anEntryTellsHowItCameAbout() throws {
        func port(_ flags: BridgePort.Flags, kind: String = "veth", switchID: UInt64? = nil) throws -> Link {
            var fixture = LinkFixture(index: 5, name: "up0", kind: kind, portKind: "bridge")
            fixture.switchID = switchID
            fixture.portFlags = flags
            return try fixture.link()
        }
        func entry(_ state: EntryState, _ flags: EntryFlags = []) throws -> Entry {
            Entry(address: try Address("52:54:00:12:34:56"), port: 5, bridge: 3, state: state, flags: flags)
        }
        #expect(try EntryOrigin(entry(.noARP), on: port(.learning)) == .frame)
        #expect(try EntryOrigin(entry(.reachable), on: port(.learning)) == .frame)
        #expect(try EntryOrigin(entry(.noARP), on: port([])) == .program)
        #expect(try EntryOrigin(entry(.permanent), on: port(.learning)) == .program)
        #expect(try EntryOrigin(entry(.noARP, .externallyLearned), on: port([], kind: "vxlan")) == .controlPlane)
        #expect(try EntryOrigin(entry(.reachable, .externallyLearned), on: port(.learning)) == .controlPlane)
        // A switch learns by itself, and says it in the same way.
        let learned = try entry(.reachable, [.externallyLearned, .offloaded])
        #expect(try EntryOrigin(learned, on: port(.learning, switchID: 1)) == .frame)
    }
}
