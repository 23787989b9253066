import JSON
import Policy
import QMP
import Testing

/// The source of a migration, with events in the order in which QEMU sends them (docs/signals.md).
@Suite struct FollowerSourceTests {
    /// A guest on its primary that was asked to give it up.
    private func leaving(takesCopies: Bool = true) -> FollowerCourse {
        var course = FollowerCourse(.primary, takesCopies: takesCopies)
        #expect(course.state == .primary && course.begun.isEmpty)
        #expect(course.migration(.setup).isEmpty)
        let actions = course.event(.unplugPrimary, device: "prim")
        #expect(actions == (takesCopies ? [.openBracket(to: .standby)] : []))
        #expect(course.migration(.waitUnplug).isEmpty)
        #expect(course.state == .leaving)
        return course
    }

    @Test func theWholeWay() {
        var course = leaving()
        #expect(course.bracket == .standby && course.side == .standby)
        #expect(course.migration(.active) == [.closeBracket(at: .standby)])
        #expect(course.state == .migrating && course.bracket == nil)
        #expect(course.event(.migrationPass).isEmpty)
        #expect(course.migration(.preSwitchover, .device).isEmpty)
        #expect(course.event(.stop).isEmpty)
        // The fabric still sends here.
        #expect(course.migration(.completed).isEmpty)
        #expect(course.state == .gone && course.side == .standby && course.follower.isDeparting)
        #expect(course.frames(.seenElsewhere) == [.becomeRemote])
        #expect(course.side == .remote && course.alarm == nil && !course.follower.isDeparting)
        #expect(course.frames(.seenElsewhere).isEmpty)
        // The monitor disconnects, and later another guest's connects.
        #expect(course.event(.shutdown).isEmpty && course.frames(.disconnected).isEmpty)
    }

    /// A pod's kernel on the target may have its MAC, and speak, as long as it is being copied.
    @Test func whatIsBeingCopiedRunsHereUntilItIsStopped() {
        var course = leaving()
        course.migration(.active)
        #expect(course.state == .migrating && course.follower.word == .here)
        course.event(.stop)
        #expect(course.state == .migrating && course.follower.word == .leaving)
        course.migration(.completed)
        #expect(course.follower.word == .leaving)
        course.frames(.seenElsewhere)
        #expect(course.follower.word == .elsewhere)
    }

    @Test func whoeverIsSeenNowhereGoesToTheUplinkAfterAWhile() {
        var course = leaving()
        course.migration(.active)
        #expect(course.all(.event(QMPEvent(.stop))) == [.watchUplink(true)])
        let completed = QMPEvent(.migration, data: .object([.init("status", .string("completed"))]))
        #expect(course.all(.event(completed)) == [.arm(.departure, nanoseconds: 1_000_000_000)])
        #expect(course.all(.timer(.departure)) == [.becomeRemote, .watchUplink(false)])
    }

    @Test func whoeverWasSeenWhileItWasStoppedGoesAtOnce() {
        var course = leaving()
        course.migration(.active)
        course.event(.stop)
        #expect(course.frames(.seenElsewhere).isEmpty)
        let completed = QMPEvent(.migration, data: .object([.init("status", .string("completed"))]))
        #expect(course.all(.event(completed)) == [.sendKept, .becomeRemote, .watchUplink(false)])
    }

    @Test func aSightBeforeTheStopOrBeforeItRanOnIsForgotten() {
        var course = leaving()
        course.migration(.active)
        course.frames(.seenElsewhere)
        course.event(.stop)
        course.frames(.seenElsewhere)
        #expect(course.all(.event(QMPEvent(.resume))) == [.watchUplink(false)])
        course.event(.stop)
        #expect(course.migration(.completed).isEmpty && course.follower.isDeparting)
    }

    @Test func whereTheUplinkCannotBeWatchedTheEntriesGoAtOnce() {
        var course = leaving()
        course.migration(.active)
        course.event(.stop)
        #expect(course.all(.failed(.watchUplink(true), "no uplink")).isEmpty)
        #expect(course.migration(.completed) == [.becomeRemote])
    }

    @Test func whatRunsOnHereAfterAllIsNotWaitedFor() {
        var course = leaving()
        course.migration(.active)
        course.event(.stop)
        course.migration(.completed)
        #expect(course.event(.resume) == [.announce] && course.state == .standby && course.side == .standby)
        #expect(course.frames(.timer(.departure)).isEmpty && course.frames(.seenElsewhere).isEmpty)
    }

    /// In post-copy the guest runs on the target while its memory follows, for seconds or minutes. Versions of QEMU report the two
    /// events in different orders.
    @Test func inPostcopyTheGuestIsGoneOnceItIsStopped() {
        for stopsFirst in [false, true] {
            var course = leaving()
            course.migration(.active)
            let active = MigrationStatus(rawValue: "postcopy-active")
            if stopsFirst {
                #expect(course.event(.stop).isEmpty)
                #expect(course.migration(MigrationStatus(rawValue: "postcopy-device")).isEmpty)
                #expect(course.migration(active).isEmpty)
            } else {
                #expect(course.migration(active).isEmpty)
                #expect(course.event(.stop).isEmpty)
            }
            #expect(course.state == .gone && course.frames(.seenElsewhere) == [.becomeRemote])
            #expect(course.state == .gone && course.side == .remote)
            #expect(course.migration(MigrationStatus(rawValue: "postcopy-paused"), active, .completed).isEmpty)
            #expect(course.state == .gone)
        }
    }

    @Test func theWholeWayByCut() {
        var course = leaving(takesCopies: false)
        #expect(course.side == .primary && course.bracket == nil)
        #expect(course.migration(.active) == [.move(to: .standby)])
        course.event(.stop)
        #expect(course.migration(.completed).isEmpty && course.frames(.seenElsewhere) == [.becomeRemote])
    }

    @Test func waitUnplugAloneOpensTheBracketToo() {
        var course = FollowerCourse(.primary)
        #expect(course.migration(.setup, .waitUnplug) == [.openBracket(to: .standby)])
        // The late event changes nothing.
        #expect(course.event(.unplugPrimary, device: "prim").isEmpty)
    }

    @Test func otherDevicesAreOthers() {
        var course = FollowerCourse(.primary)
        #expect(course.event(.unplugPrimary, device: "prim2").isEmpty)
        #expect(course.state == .primary)
        var any = FollowerCourse(.primary, ids: false)
        #expect(any.event(.unplugPrimary, device: "prim2") == [.openBracket(to: .standby)])
        // Disks are deleted too.
        #expect(any.event(.deviceDeleted, device: "disk").isEmpty)
    }

    @Test func cancelledInWaitUnplugWaitsForThePrimaryWithBothPortsServed() {
        var course = leaving()
        #expect(course.migration(.cancelling).isEmpty)
        #expect(course.migration(.cancelled).isEmpty)
        #expect(course.state == .coming && course.bracket == .primary)
        #expect(course.frames(.frameOnPrimary) == [.closeBracket(at: .primary)])
        #expect(course.state == .primary)
    }

    @Test(arguments: [MigrationStatus.cancelled, .failed])
    func endsAfterTheUnplugBringTheGuestBack(end: MigrationStatus) {
        var course = leaving()
        course.migration(.active)
        #expect(course.migration(end) == [.openBracket(to: .primary), .announce])
        #expect(course.state == .coming)
        #expect(course.frames(.frameOnPrimary) == [.closeBracket(at: .primary)])
        // A second migration works too.
        #expect(course.event(.unplugPrimary, device: "prim") == [.openBracket(to: .standby)])
    }

    @Test func cancelledBeforeAnythingWasAskedChangesNothing() {
        var course = FollowerCourse(.primary)
        #expect(course.migration(.setup, .cancelling, .cancelled).isEmpty)
        #expect(course.state == .primary)
    }

    @Test func cancelledByCutGoesBackOnTheFirstFrame() {
        var course = leaving(takesCopies: false)
        course.migration(.active)
        #expect(course.migration(.cancelled) == [.announce])
        #expect(course.state == .coming && course.side == .standby)
        #expect(course.frames(.frameOnPrimary) == [.move(to: .primary)])
    }

    @Test func aGuestThatDoesNotGiveUpItsPrimaryIsAnAlarmAndKeepsBothPorts() {
        var course = FollowerCourse(.primary)
        let asked = course.all(.event(QMPEvent(.unplugPrimary, data: .object([.init("device-id", .string("prim"))]))))
        #expect(asked == [.openBracket(to: .standby), .arm(.unplug, nanoseconds: 30_000_000_000)])
        let late = course.all(.timer(.unplug))
        #expect(late.count == 1 && course.alarm?.contains("both ports") == true)
        #expect(course.bracket == .standby)
        // A timer that was not armed has no effect.
        #expect(course.all(.timer(.unplug)).isEmpty)
        // The guest gives up the primary after all.
        let ended = course.all(
            .event(QMPEvent(.migration, data: .object([.init("status", .string("active"))]))))
        #expect(ended == [.closeBracket(at: .standby), .calm])
    }

    @Test func askedAfterTheCancelTheGuestIsServedOnBothUntilItIsBack() {
        var course = FollowerCourse(.primary)
        _ = course.migration(.setup)
        _ = course.migration(.cancelled)
        _ = course.all(.event(QMPEvent(.unplugPrimary, data: .object([.init("device-id", .string("prim"))]))))
        #expect(course.bracket == .standby)
        // Frames through the old primary continue for a while: they are not evidence.
        #expect(course.all(.frameOnPrimary).isEmpty)
        let late = course.all(.timer(.unplug))
        #expect(late.contains(.watchPrimary(true)) && course.bracket == .primary && course.alarm == nil)
        #expect(course.all(.frameOnPrimary).first == .closeBracket(at: .primary))
    }

    @Test func aGuestThatRefusesIsAnAlarm() {
        var course = leaving()
        #expect(course.event(.unplugGuestError, device: "prim").isEmpty)
        #expect(course.alarm?.contains("refused") == true)
        // QEMU abandons the migration.
        #expect(course.migration(.failed).isEmpty)
        #expect(course.frames(.frameOnPrimary) == [.closeBracket(at: .primary)])
        #expect(course.alarm == nil)
    }

    @Test func aMigrationThatLeavesThePrimaryPluggedIsAnAlarm() {
        var course = FollowerCourse(.primary)
        #expect(course.migration(.setup, .active).isEmpty)
        #expect(course.state == .primary && course.alarm?.contains("without having taken") == true)
        #expect(course.migration(.failed).isEmpty)
        #expect(course.alarm == nil)
    }

    @Test func aGuestWithoutAPrimaryJustLeaves() {
        var course = FollowerCourse(.standby)
        #expect(course.migration(.setup, .active).isEmpty)
        #expect(course.state == .migrating)
        course.event(.stop)
        #expect(course.migration(.completed).isEmpty && course.frames(.seenElsewhere) == [.becomeRemote])
    }

    @Test func aGuestWithoutAPrimaryThatStaysIsLeftAlone() {
        var course = FollowerCourse(.standby)
        course.migration(.setup, .active)
        #expect(course.migration(.cancelled) == [.announce])
        #expect(course.state == .standby && course.bracket == nil && course.alarm == nil)
    }

    @Test func aSourceThatGoesOnAfterItsMigrationHasTheGuestAgain() {
        var course = leaving()
        course.migration(.active)
        course.event(.stop)
        course.migration(.completed)
        course.frames(.seenElsewhere)
        #expect(course.event(.resume) == [.move(to: .standby), .announce])
        #expect(course.state == .standby)
    }

    @Test func aSourceKilledBeforeTheEndIsAnAlarm() {
        var course = leaving()
        course.migration(.active)
        course.event(.stop)
        #expect(course.frames(.disconnected).isEmpty)
        #expect(course.state == .migrating && course.alarm?.contains("remote") == true)
    }

    @Test func aPausedGuestIsNotOnItsWay() {
        var course = FollowerCourse(.primary)
        #expect(course.event(.stop).isEmpty && course.event(.resume).isEmpty)
        #expect(course.state == .primary)
        // A paused guest migrates too.
        course.event(.stop)
        course.event(.unplugPrimary, device: "prim")
        course.migration(.active)
        #expect(course.migration(.completed) == [.becomeRemote])
    }
}
