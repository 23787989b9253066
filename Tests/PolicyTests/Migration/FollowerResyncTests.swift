import JSON
import Policy
import QMP
import Testing

/// The conclusions from a connection after missed events, and the behaviour when actions fail.
@Suite struct FollowerResyncTests {
    @Test func aFirstConnectionFindsEveryStage() {
        func begun(_ side: Side, _ bracket: Side?, _ status: MigrationStatus, _ runState: String = "running")
            -> (MigrationFollower.State, [MigrationFollower.Action])
        {
            let course = FollowerCourse(side, bracket: bracket, status: status, runState: runState)
            return (
                course.state,
                course.begun.filter {
                    switch $0 {
                    case .openBracket, .closeBracket, .move, .becomeRemote, .announce: true
                    default: false
                    }
                }
            )
        }
        #expect(begun(.primary, nil, .none) == (.primary, []))
        #expect(begun(.primary, nil, .cancelled) == (.primary, []))
        #expect(begun(.primary, nil, .waitUnplug) == (.leaving, [.openBracket(to: .standby)]))
        // The request was missed, and it is unknown whether the guest followed it.
        #expect(begun(.primary, nil, .active) == (.leaving, [.openBracket(to: .standby)]))
        #expect(begun(.standby, .standby, .waitUnplug) == (.leaving, []))
        #expect(begun(.standby, .standby, .active) == (.migrating, [.closeBracket(at: .standby)]))
        #expect(begun(.standby, .standby, .cancelled) == (.coming, []))
        #expect(begun(.standby, .primary, .none) == (.coming, []))
        #expect(begun(.standby, nil, .none) == (.standby, []))
        #expect(begun(.standby, nil, .active) == (.migrating, []))
        #expect(begun(.standby, nil, .completed, "postmigrate") == (.gone, [.becomeRemote]))
        #expect(begun(.standby, .standby, .completed, "postmigrate") == (.gone, [.becomeRemote]))
        #expect(begun(.remote, nil, .completed, "postmigrate") == (.gone, []))
        // Post-copy: the source is stopped, and whichever QEMU runs the guest is the target.
        let postcopy = MigrationStatus(rawValue: "postcopy-active")
        #expect(begun(.standby, nil, postcopy, "finish-migrate") == (.gone, [.becomeRemote]))
        #expect(begun(.standby, nil, .device, "finish-migrate") == (.migrating, []))
        #expect(begun(.standby, nil, postcopy, "running") == (.standby, []))
        #expect(begun(.primary, nil, postcopy, "running") == (.primary, []))
        #expect(begun(.remote, nil, .none, "inmigrate") == (.awaited, []))
        #expect(begun(.primary, nil, .none, "inmigrate") == (.awaited, [.becomeRemote]))
        #expect(begun(.remote, nil, .none, "prelaunch") == (.awaited, []))
        #expect(
            begun(.remote, nil, .completed, "running")
                == (.coming, [.move(to: .standby), .announce, .openBracket(to: .primary)]))
    }

    @Test func whereNothingCanBeAskedTheEntriesTell() {
        func begun(_ side: Side, _ bracket: Side? = nil) -> (MigrationFollower, [MigrationFollower.Action]) {
            var follower = MigrationFollower(MigrationFollower.Configuration(), side: side, bracket: bracket)
            let actions = follower.handle(.connected(follower.presumed)).filter {
                switch $0 {
                case .openBracket, .closeBracket, .move, .becomeRemote, .announce: true
                default: false
                }
            }
            return (follower, actions)
        }
        for (side, bracket, state) in [
            (.primary, nil, .primary), (.standby, nil, .standby), (.remote, nil, .awaited),
            (.standby, .standby, .leaving), (.standby, .primary, .coming),
        ] as [(Side, Side?, MigrationFollower.State)] {
            let (follower, actions) = begun(side, bracket)
            #expect(follower.state == state && actions.isEmpty, "\(side) \(String(describing: bracket)): \(actions)")
        }
        // The negotiation may have been missed, so the arriving guest is served through both ports.
        var (arriving, _) = begun(.remote)
        let arrived = arriving.handle(.event(QMPEvent(.resume)))
        #expect(arrived.contains(.openBracket(to: .primary)) && arriving.state == .coming)
        // The departure is also detected if the rest of the migration was missed.
        var (leaving, _) = begun(.standby, .standby)
        _ = leaving.handle(.event(QMPEvent(.stop)))
        let completed = QMPEvent(.migration, data: .object([.init("status", .string("completed"))]))
        #expect(leaving.handle(.event(completed)).contains(.becomeRemote) && leaving.state == .gone)
        #expect(leaving.side == .remote)
    }

    @Test func missedWhileLeaving() {
        func leaving() -> FollowerCourse {
            var course = FollowerCourse(.primary)
            course.event(.unplugPrimary, device: "prim")
            course.frames(.disconnected)
            return course
        }
        var course = leaving()
        #expect(course.connected("running", .waitUnplug).isEmpty && course.state == .leaving)
        #expect(course.connected("running", .active) == [.closeBracket(at: .standby)])
        course = leaving()
        #expect(course.connected("running", .cancelled).isEmpty && course.state == .coming)
        course = leaving()
        #expect(course.connected("postmigrate", .completed) == [.becomeRemote])
        course = leaving()
        #expect(course.connected("running", .active) == [.closeBracket(at: .standby)])
        course.frames(.disconnected)
        #expect(course.alarm != nil)
        #expect(course.connected("running", .failed) == [.openBracket(to: .primary), .announce])
        #expect(course.frames(.frameOnPrimary) == [.closeBracket(at: .primary)])
    }

    /// Somebody opens a bracket before the guest's primary is taken away without a migration. As long as the guest has it, it sends by it.
    @Test(arguments: [MigrationStatus.none, .completed, .cancelled])
    func aRemovalThatSomebodyElseOrdersEndsWithTheDevice(earlier: MigrationStatus) {
        var course = FollowerCourse(.primary, bracket: .standby, isOrdered: true, status: earlier)
        #expect(course.begun == [.arm(.unplug, nanoseconds: 30_000_000_000)] && course.state == .leaving)
        #expect(course.frames(.frameOnPrimary).isEmpty)
        course.frames(.disconnected)
        #expect(course.connected("running", earlier).isEmpty && course.state == .leaving)
        #expect(course.event(.deviceDeleted, device: "other").isEmpty)
        var given = course
        #expect(
            given.frames(
                .event(QMPEvent(.deviceDeleted, data: .object([.init("device", .string("prim"))]))))
                == [.closeBracket(at: .standby)])
        #expect(given.state == .standby)
        // That was missed, and it gets another primary, or boots.
        given = course
        #expect(given.event(.failoverNegotiated, device: "net1").isEmpty && given.state == .coming)
        given = course
        #expect(given.event(.reset) == [.closeBracket(at: .standby)])
        // It refuses: that is told, and whoever ordered it decides.
        _ = course.all(.timer(.unplug))
        #expect(course.state == .leaving && course.alarm?.contains("not given up its primary") == true)
        // Or a migration begins, and is called off.
        #expect(course.migration(.setup, .waitUnplug, .cancelled).isEmpty && course.state == .coming)
        #expect(course.frames(.frameOnPrimary) == [.closeBracket(at: .primary)])
    }

    @Test func aMissedRequestByCutFollowsTheStatus() {
        var course = FollowerCourse(.primary, takesCopies: false)
        course.frames(.disconnected)
        #expect(course.connected("running", .active) == [.move(to: .standby)])
        #expect(course.state == .migrating)
    }

    @Test func aMissedArrival() {
        var course = FollowerCourse(.remote, runState: "inmigrate")
        course.frames(.disconnected)
        #expect(
            course.connected("running", .completed)
                == [.move(to: .standby), .announce, .openBracket(to: .primary)])
        // The migration that brought the guest does not take it away.
        #expect(course.migration(.completed).isEmpty)
        #expect(course.state == .coming)
    }

    @Test func anotherGuestOnTheSameMonitor() {
        var course = FollowerCourse(.primary)
        course.frames(.disconnected)
        #expect(course.connected("prelaunch") == [.move(to: .standby)])
        course = FollowerCourse(.primary)
        course.frames(.disconnected)
        #expect(course.connected("inmigrate") == [.becomeRemote])
    }

    @Test func whatWasNegotiatedUnheardIsSeenOnThePrimary() {
        var course = FollowerCourse(.standby)
        #expect(course.begun == [.watchPrimary(true)])
        #expect(course.frames(.frameOnPrimary) == [.move(to: .primary)])
    }

    @Test func aBracketThatCannotBeOpenedBecomesACut() {
        var course = FollowerCourse(.primary)
        course.event(.unplugPrimary, device: "prim")
        #expect(course.frames(.failed(.openBracket(to: .standby), "no clsact")).isEmpty)
        #expect(course.side == .primary && course.bracket == nil && course.alarm?.contains("no clsact") == true)
        #expect(course.migration(.active) == [.move(to: .standby)])
        #expect(course.migration(.failed) == [.openBracket(to: .primary), .announce])
        course.frames(.failed(.openBracket(to: .primary), "no clsact"))
        #expect(course.side == .standby)
        #expect(course.frames(.frameOnPrimary) == [.move(to: .primary)])
        #expect(course.alarm == nil)
    }

    @Test func aFailedMoveIsTriedAgainUntilAnotherIsDue() {
        var course = FollowerCourse(.primary)
        course.event(.unplugPrimary, device: "prim")
        course.migration(.active)
        let close = MigrationFollower.Action.closeBracket(at: .standby)
        // The first retry is soon, because frames are lost until then.
        for pause in [10, 20, 40, 80, 160, 320, 640] + Array(repeating: 1000, count: 20) {
            #expect(
                course.all(.failed(close, "EBUSY")).last == .arm(.retry, nanoseconds: Int64(pause) * 1_000_000))
            #expect(course.frames(.timer(.retry)) == [close])
        }
        course.frames(.failed(close, "EBUSY"))
        course.event(.stop)
        course.migration(.completed)
        #expect(course.frames(.seenElsewhere) == [.becomeRemote])
        #expect(course.frames(.timer(.retry)).isEmpty)
    }

    @Test func aPrimaryWithoutCarrierIsNoReasonToMove() {
        var course = FollowerCourse(.primary)
        #expect(course.frames(.primaryCarrier(false)).isEmpty)
        #expect(course.alarm?.contains("carrier") == true)
        #expect(course.all(.primaryCarrier(true)) == [.calm])
    }

    /// For any inputs in any order: a bracket is opened only if none is open, entries are where the actions put them, and
    /// copies
    /// end only if they exist.
    @Test func everyOrderOfEventsKeepsItsBooks() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<3000 {
            let sides: [Side] = [.primary, .standby, .remote]
            var side = sides.randomElement(using: &random) ?? .primary
            var isOpen = false
            var follower = MigrationFollower(
                .init(takesCopies: Bool.random(using: &random)), side: side, bracket: nil)
            var told: [MigrationFollower.Input] = []
            for _ in 0..<40 {
                let input = FollowerResyncTests.inputs.randomElement(using: &random) ?? .disconnected
                told.append(input)
                for action in follower.handle(input) {
                    switch action {
                    case .openBracket:
                        #expect(!isOpen, "\(told)")
                        isOpen = true
                        side = .standby
                    case .closeBracket(let target):
                        #expect(isOpen, "\(told)")
                        isOpen = false
                        side = target
                    case .move(let target):
                        #expect(!isOpen && side != target, "\(told)")
                        side = target
                    case .becomeRemote:
                        isOpen = false
                        side = .remote
                    default: break
                    }
                }
                #expect(follower.side == side && (follower.bracket != nil) == isOpen, "\(told)")
                if [.standby, .primary, .gone, .awaited].contains(follower.state) { #expect(!isOpen, "\(told)") }
                if follower.state == .primary { #expect(side == .primary, "\(told)") }
                if follower.state == .standby { #expect(side == .standby, "\(told)") }
                if follower.state == .gone { #expect(side == .remote || follower.isDeparting, "\(told)") }
                if follower.isDeparting { #expect(!isOpen && follower.word == .leaving, "\(told)") }
            }
        }
    }

    private static let inputs: [MigrationFollower.Input] =
        QMPEvent.Name.known.map { .event(QMPEvent($0)) }
        + [
            "setup", "wait-unplug", "active", "pre-switchover", "device", "cancelling", "cancelled", "failed",
            "completed", "postcopy-active",
        ].flatMap { status -> [MigrationFollower.Input] in
            [.event(QMPEvent(.migration, data: .object([.init("status", .string(status))])))]
                + ["running", "paused", "inmigrate", "postmigrate", "prelaunch"].map {
                    .connected(QMPSituation(runState: $0, migration: MigrationStatus(rawValue: status)))
                }
        } + [.disconnected, .frameOnPrimary, .seenElsewhere, .primaryCarrier(false), .primaryCarrier(true)]
        + MigrationFollower.Timer.allCases.map { .timer($0) }
}
