import FDB
import Switchdev
import Testing
import TestSupport

@testable import Policy

/// When a guest of the configuration is prepared, and when it is left alone.
struct PreparationCourseTests {
    private static let second: Int64 = 1_000_000_000

    private func request(_ port: String = "tap0", _ mac: String = "52:54:00:00:00:01") throws -> PreparationRequest {
        try PreparationRequest(
            id: GuestID("vm1"), bridge: "br0", primary: nil, standby: port, uplink: nil, addresses: [Address(mac)],
            side: .local)
    }

    private func links(tap index: Int32 = 8, master: Int32 = 3) throws -> Links {
        Links([
            try link(3, "br0", switched: false), try link(index, "tap0", switched: false, master: master),
            try link(9, "tap1", switched: false), try link(10, "other0", switched: false),
        ])
    }

    private func record(_ port: String, _ index: Int32, _ phase: GuestPhase = .pinned) throws -> GuestRecord {
        GuestRecord(
            row: 7,
            guest: GuestInterface(
                id: try GuestID("vm1"), bridge: PortIdentity(name: "br0", index: 3, isEswitchPort: false), primary: nil,
                standby: PortIdentity(name: port, index: index, isEswitchPort: false), uplink: nil,
                addresses: [try Address("52:54:00:00:00:01")], side: .local, isSticky: false),
            phase: phase, boot: "b", namespace: 1, proof: .missing, revision: 1)
    }

    private func table(_ request: PreparationRequest, _ links: Links) -> PreparationCourse.Table? {
        PreparationCourse.Table(request, as: request, links)
    }

    /// Also one whose record was on another port than its table says.
    @Test(arguments: [("tap0", Int32(8)), ("tap1", Int32(9))])
    func whatWasReleasedIsLeftAloneUntilItsTableOrItsPortIsAnother(port: String, index: Int32) throws {
        var course = PreparationCourse()
        course.table = table(try request(), try links())
        course.note(try record(port, index))
        #expect(!course.isReleased)
        course.note(nil)
        #expect(course.isReleased)
        // A prepare that is refused begins a record, and takes it back.
        course.note(try record(port, index, .preparing))
        #expect(course.isReleased)
        course.table = table(try request(), try links(tap: 12))
        #expect(!course.isReleased, "its port was made anew")
        course.table = table(try request(), try links())
        #expect(course.isReleased)
        course.table = table(try request("tap0", "52:54:00:00:00:02"), try links())
        #expect(!course.isReleased, "its table says otherwise")
        course.table = table(try request(), try links())
        course.note(try record(port, index))
        #expect(!course.isReleased, "somebody has prepared it")
    }

    @Test func whatTheDaemonDoesItselfIsNoRelease() throws {
        var course = PreparationCourse()
        course.table = table(try request(), try links())
        course.note(try record("tap0", 5))
        course.begin(0)
        course.note(nil)
        #expect(!course.isReleased)
    }

    private func grounds(_ links: Links, _ heard: [Address: Entry?] = [:]) throws -> PreparationCourse.Grounds {
        PreparationCourse.Grounds(try request(), links, heard: heard)
    }

    /// A course with four refusals behind it, the last at 7 s.
    private func refused() throws -> PreparationCourse {
        var course = PreparationCourse()
        for time in [Int64(0), 1, 3, 7] {
            course.look(at: try grounds(try links()), now: time * Self.second)
            #expect(course.due <= time * Self.second)
            course.begin(time * Self.second)
        }
        #expect(course.due == 15 * Self.second)
        return course
    }

    @Test func aWaitEndsWithAChangeOfWhatTheTableNames() throws {
        var course = try refused()
        course.look(at: try grounds(try links(master: 0)), now: 9 * Self.second)
        #expect(course.due == 8 * Self.second)
        course = try refused()
        let address = try Address("52:54:00:00:00:01")
        let entry = Entry(address: address, port: 8, bridge: 3, state: [])
        course.look(at: try grounds(try links(), [address: entry]), now: 7 * Self.second + 1)
        #expect(course.due == 8 * Self.second, "at most once a second")
    }

    @Test func aWaitGoesOnWhateverElseChanges() throws {
        var course = try refused()
        let other = try link(11, "new0", switched: false)
        let changed = try link(10, "other0", switched: false, master: 0)
        for links in [try links(), Links(try links().all + [other]), Links(try links().all.dropLast() + [changed])] {
            course.look(at: try grounds(links), now: 9 * Self.second)
            #expect(course.due == 15 * Self.second)
        }
    }

    /// A guest can take its carrier away and give it back as often as it likes.
    @Test func changesThatAGuestCausesHaveABudget() throws {
        var course = try refused()
        var attempts = 0
        for tick in 0..<600 {
            let now = 20 * Self.second + Int64(tick) * Self.second / 10
            course.look(at: try grounds(try links(master: tick % 2 == 0 ? 3 : 0)), now: now)
            guard course.due <= now else { continue }
            attempts += 1
            course.begin(now)
        }
        // In a minute: twenty at once a second, and one in 5 s then.
        #expect(attempts >= 10 && attempts <= 32, "\(attempts)")
    }
}
