@testable import Controller
import FDB
import Switchdev
import Testing

/// What a dump says about guests, decided without a kernel. Port 5 is the primary, 6 the standby.
@Suite struct RollCallTests {
    private static let addresses = ["52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"]

    private static func watch() throws -> Watch {
        func port(_ index: Int32, _ name: String) -> PortIdentity {
            PortIdentity(name: name, index: index, isEswitchPort: false)
        }
        let guest = GuestInterface(
            id: try GuestID("vm"), bridge: port(3, "br"), primary: port(5, "vf"), standby: port(6, "tap"), uplink: nil,
            addresses: try addresses.map { try Address($0) }, side: .primary, isSticky: false)
        var watch = Watch()
        watch.set(
            Journal.Record(
                row: 1, guest: guest, phase: .pinned, goal: nil, boot: "boot", namespace: 1, proof: .nothingToProve,
                revision: 1))
        return watch
    }

    private static func entry(_ text: String, port: Int32 = 5, bridge: Int32 = 3) throws -> Entry {
        Situation.entry(try Address(text), port: port, bridge: bridge, state: .noARP)
    }

    private static func suspects(_ entries: [Entry]) throws -> Set<Int64> {
        var roll = RollCall(bridge: 3, watch: try watch())
        for entry in entries { roll.hear(entry) }
        return roll.suspects
    }

    @Test func everybodyAnswers() throws {
        #expect(try Self.suspects(Self.addresses.map { try Self.entry($0) }).isEmpty)
    }

    @Test func anEntryThatIsHandedOverTwiceDoesNotStandForOneThatIsMissing() throws {
        let twice = try [Self.addresses[0], Self.addresses[1], Self.addresses[1]].map { try Self.entry($0) }
        #expect(try Self.suspects(twice) == [1])
        let whole = try (Self.addresses + Self.addresses).map { try Self.entry($0) }
        #expect(try Self.suspects(whole).isEmpty)
    }

    @Test func anEntryOnAnotherPortIsSuspiciousAlsoWhenItWasSeenWhereItBelongs() throws {
        let entries = try Self.addresses.map { try Self.entry($0) } + [Self.entry(Self.addresses[2], port: 6)]
        #expect(try Self.suspects(entries) == [1])
    }

    @Test func strangersDoNotCount() throws {
        let entries = try Self.addresses.map { try Self.entry($0) } + [Self.entry("0a:00:00:00:00:01", port: 6)]
        #expect(try Self.suspects(entries).isEmpty)
    }
}
