import JSON
import Policy
import QMP
import Testing

/// The target of a migration, and guests that boot or reboot.
@Suite struct FollowerTargetTests {
    /// A QEMU that waits for its guest.
    private func awaiting(takesCopies: Bool = true) -> FollowerCourse {
        let course = FollowerCourse(.remote, takesCopies: takesCopies, runState: "inmigrate")
        #expect(course.state == .awaited && course.begun.isEmpty)
        return course
    }

    @Test func theWholeWay() {
        var course = awaiting()
        #expect(course.migration(.setup, .active).isEmpty)
        // The guest's state is being loaded: frames that arrive from now on wait for it.
        #expect(course.event(.failoverNegotiated, device: "net1") == [.move(to: .standby), .announce])
        #expect(course.state == .awaited)
        #expect(course.event(.resume) == [.announce, .openBracket(to: .primary)])
        #expect(course.migration(.completed).isEmpty)
        #expect(course.state == .coming && course.bracket == .primary)
        #expect(course.frames(.frameOnPrimary) == [.closeBracket(at: .primary)])
        #expect(course.state == .primary)
    }

    @Test func theWholeWayByCut() {
        var course = awaiting(takesCopies: false)
        #expect(course.event(.failoverNegotiated, device: "net1") == [.move(to: .standby), .announce])
        #expect(course.event(.resume) == [.announce])
        #expect(course.frames(.frameOnPrimary) == [.move(to: .primary)])
    }

    @Test func aGuestThatNeverNegotiatedIsLeftOnItsStandby() {
        var course = awaiting()
        course.migration(.active)
        #expect(course.event(.resume) == [.move(to: .standby), .announce])
        #expect(course.migration(.completed).isEmpty)
        #expect(course.state == .standby && course.bracket == nil)
        #expect(course.frames(.timer(.primary)).isEmpty && course.alarm == nil)
    }

    @Test func aPrimaryThatNeverComesIsAnAlarmAndTheGuestStaysServed() {
        var course = awaiting()
        course.event(.failoverNegotiated, device: "net1")
        course.event(.resume)
        #expect(course.frames(.timer(.primary)).isEmpty)
        #expect(course.alarm?.contains("sent nothing by its primary for 60 s") == true)
        #expect(course.side == .standby && course.bracket == .primary)
        // The primary comes after all.
        let actions = course.all(.frameOnPrimary)
        #expect(actions == [.closeBracket(at: .primary), .watchPrimary(false), .calm])
    }

    @Test func aFailedIncomingMigrationStaysRemote() {
        var course = awaiting()
        course.event(.failoverNegotiated, device: "net1")
        #expect(course.migration(.failed) == [.becomeRemote])
        course.event(.shutdown)
        #expect(course.frames(.disconnected).isEmpty)
        #expect(course.side == .remote)
    }

    @Test func aGuestThatArrivesPausedIsRemoteUntilItRuns() {
        var course = awaiting()
        course.event(.failoverNegotiated, device: "net1")
        #expect(course.migration(.completed).isEmpty)
        #expect(course.event(.resume) == [.announce, .openBracket(to: .primary)])
    }

    @Test func aTargetThatDiesBeforeTheGuestRanLeavesItRemote() {
        var course = awaiting()
        course.event(.failoverNegotiated, device: "net1")
        #expect(course.side == .standby)
        #expect(course.frames(.disconnected) == [.becomeRemote])
        #expect(course.side == .remote)
    }

    @Test func onwardsFromTheTarget() {
        var course = awaiting()
        course.event(.failoverNegotiated, device: "net1")
        course.event(.resume)
        course.migration(.completed)
        course.frames(.frameOnPrimary)
        #expect(course.event(.unplugPrimary, device: "prim") == [.openBracket(to: .standby)])
        course.migration(.waitUnplug, .active)
        course.event(.stop)
        course.migration(.completed)
        #expect(course.frames(.seenElsewhere) == [.becomeRemote])
    }

    @Test func onwardsBeforeThePrimaryWasSeen() {
        var course = awaiting()
        course.event(.failoverNegotiated, device: "net1")
        course.event(.resume)
        course.migration(.completed)
        // The existing copies are the required ones.
        #expect(course.event(.unplugPrimary, device: "prim").isEmpty)
        #expect(course.state == .leaving && course.bracket == .standby)
        #expect(course.migration(.active) == [.closeBracket(at: .standby)])
    }

    @Test func bootAndReboot() {
        var course = FollowerCourse(.standby, runState: "prelaunch")
        #expect(course.state == .standby)
        course.event(.resume)
        // Firmware uses only the standby, so a frame through the primary is not the guest's yet.
        #expect(course.frames(.frameOnPrimary).isEmpty)
        #expect(course.event(.failoverNegotiated, device: "net2").isEmpty)
        #expect(course.event(.failoverNegotiated, device: "net1") == [.openBracket(to: .primary)])
        #expect(course.frames(.frameOnPrimary) == [.closeBracket(at: .primary)])
        #expect(course.event(.reset) == [.move(to: .standby)])
        #expect(course.frames(.frameOnPrimary).isEmpty)
        #expect(course.event(.failoverNegotiated, device: "net1") == [.openBracket(to: .primary)])
        #expect(course.event(.reset) == [.closeBracket(at: .standby)])
    }

    @Test func aDriverThatIsLoadedAnewMakesNoGap() {
        var course = FollowerCourse(.primary)
        #expect(course.event(.failoverNegotiated, device: "net1") == [.openBracket(to: .standby)])
        #expect(course.state == .coming)
        #expect(course.frames(.frameOnPrimary) == [.closeBracket(at: .primary)])
        var cut = FollowerCourse(.primary, takesCopies: false)
        #expect(cut.event(.failoverNegotiated, device: "net1").isEmpty && cut.state == .primary)
    }

    @Test func removalAndHotPlugByTheOrchestrator() {
        var course = FollowerCourse(.primary)
        let deleted = QMPEvent(.deviceDeleted, data: .object([.init("device", .string("prim"))]))
        #expect(course.frames(.event(deleted)) == [.move(to: .standby)])
        #expect(course.state == .standby)
        #expect(course.frames(.frameOnPrimary) == [.move(to: .primary)])
        let path = QMPEvent(.deviceDeleted, data: .object([.init("path", .string("/machine/peripheral/prim"))]))
        #expect(course.frames(.event(path)) == [.move(to: .standby)])
    }

    @Test func powerOffLeavesTheStandby() {
        var course = FollowerCourse(.primary)
        course.event(.shutdown)
        #expect(course.frames(.disconnected) == [.move(to: .standby)])
        #expect(course.state == .unknown)
        #expect(course.connected("prelaunch").isEmpty)
        #expect(course.state == .standby)
        // The machine may only have been reset.
        var again = FollowerCourse(.primary)
        again.event(.shutdown)
        again.event(.reset)
        #expect(again.frames(.disconnected).isEmpty)
    }
}
