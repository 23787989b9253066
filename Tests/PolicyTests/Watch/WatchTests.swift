import FDB
import Switchdev
import Testing
import TestSupport

@testable import Policy

/// What is kept of ports beside the records.
struct WatchTests {
    private func record(_ side: Side) throws -> GuestRecord {
        GuestRecord(
            row: 7,
            guest: GuestInterface(
                id: try GuestID("vm1"), bridge: PortIdentity(name: "br0", index: 3, isEswitchPort: false),
                primary: PortIdentity(name: "vfrep0", index: 6, isEswitchPort: false),
                standby: PortIdentity(name: "tap0", index: 8, isEswitchPort: false),
                uplink: PortIdentity(name: "vx100", index: 9, isEswitchPort: false),
                addresses: [try Address("52:54:00:00:00:01")], side: side, isSticky: false),
            phase: .pinned, boot: "b", namespace: 1, proof: .missing, revision: 1)
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
}
