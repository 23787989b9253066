import Switchdev
import TestSupport
import Testing

@testable import FDB
@testable import Policy

/// What is kept of ports beside the records.
struct WatchTests {
    private func record(_ side: Side, _ phase: GuestPhase = .pinned, to goal: Side? = nil) throws -> GuestRecord {
        GuestRecord(
            row: 7,
            guest: GuestInterface(
                id: try GuestID("vm1"), bridge: PortIdentity(name: "br0", index: 3, isEswitchPort: false),
                primary: PortIdentity(name: "vfrep0", index: 6, isEswitchPort: false),
                standby: PortIdentity(name: "tap0", index: 8, isEswitchPort: false),
                uplink: PortIdentity(name: "vx100", index: 9, isEswitchPort: false),
                addresses: [try Address("52:54:00:00:00:01")], side: side, isSticky: false),
            phase: phase, goal: goal, boot: "b", namespace: 1, proof: .missing, revision: 1)
    }

    @Test func whatWasHeardOfAPortOutlivesANewRecord() throws {
        var watch = Watch()
        watch.set(try record(.standby))
        #expect(watch.primaryCarrier(7) == nil)
        let primary = try link(6, "vfrep0", switched: false)
        let isNews = watch.learn(primary)
        watch.set(try record(.remote))
        #expect(isNews && watch.primaryCarrier(7) == true)
        let isNewsAgain = watch.learn(primary)
        #expect(!isNewsAgain)
        watch.remove(7)
        watch.set(try record(.remote))
        #expect(watch.primaryCarrier(7) == nil, "nobody listened meanwhile")
    }

    /// A verb moves entries before its record says so. What it does not move is suspicious all the same.
    @Test func whatAVerbMovesIsNoSuspicion() throws {
        func heard(_ record: GuestRecord, port: Int32, _ state: EntryState = .noARP, isRemoval: Bool = false) throws
            -> Watch.Cause?
        {
            var watch = Watch()
            watch.set(record)
            let entry = Entry(
                address: try Address("52:54:00:00:00:01"), port: port, bridge: 3, state: state, flags: [])
            return watch.hear(FDBMonitor.Change(entry: entry, isRemoval: isRemoval))?.cause
        }
        let (atRest, moving) = (try record(.primary), try record(.primary, .switching, to: .standby))
        #expect(try heard(atRest, port: 8) == .stolen)
        #expect(try heard(moving, port: 8) == nil)
        #expect(try heard(moving, port: 6) == nil, "it may be put back")
        #expect(try heard(moving, port: 9) == .stolen)
        #expect(try heard(moving, port: 8, .reachable) == .stolen)
        #expect(try heard(moving, port: 8, isRemoval: true) == .removed)
        #expect(try heard(try record(.primary, .closing, to: .primary), port: 8) == .stolen)
    }
}
