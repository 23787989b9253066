import FDB
import Testing

@testable import Records

@Suite struct ProbeRecordTests {
    @Test func snapshotsComeBackAsTheyWere() throws {
        let function = NICSnapshot.Function(
            number: 3, device: "0000:01:10.6", mac: MACAddress(value: 1), driver: nil, override: "igbvf",
            interface: "eth7", isUp: true)
        var snapshot = NICSnapshot(
            pf: "nic0", pfIndex: 4, address: try Address("02:00:00:00:00:01/7"), function: function, sibling: nil)
        #expect(NICSnapshot(record: snapshot.record) == snapshot)
        snapshot = NICSnapshot(
            pf: "nic0", pfIndex: 4, address: snapshot.address, function: function, sibling: function)
        #expect(NICSnapshot(record: snapshot.record) == snapshot)
        for text in ["", "nic0 4", "nic0 x 02:00:00:00:00:01\n", snapshot.record + "\nmore", "\n\n\n"] {
            #expect(NICSnapshot(record: text) == nil)
        }
    }
}
