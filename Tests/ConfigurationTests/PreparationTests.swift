import Configuration
import Policy
import Testing

/// `[[guest]]` with what `prepare` is told.
struct PreparationTests {
    private static func guest(_ lines: String, id: String = "vm1") -> String {
        "[[guest]]\nid = \"\(id)\"\n\(lines)\n"
    }

    /// The keys mean what the options of the same names do.
    @Test(arguments: [
        (
            """
            bridge = "br0"
            primary = "pf0vf3"
            standby = "tap0"
            uplink = "bond0"
            address = ["52:54:00:00:00:01/20", "52:54:00:00:00:01/10"]
            ip = ["192.0.2.7=52:54:00:00:00:01/10"]
            neighbour = ["br0.10"]
            at = "standby"
            kind = "bond"
            leak = "allow"
            no_guard = true
            gate = true
            """,
            "fdbsteer prepare vm1 --bridge br0 --primary pf0vf3 --standby tap0 --uplink bond0 --address 52:54:00:00:00:01/10 "
                + "--address 52:54:00:00:00:01/20 --ip 192.0.2.7=52:54:00:00:00:01/10 --neighbour br0.10 --at standby --kind bond "
                + "--leak allow --no-guard --gate"
        ),
        (
            "bridge = \"br0\"\nport = \"pci/0000:03:00.5\"\naddress = [\"52:54:00:00:00:01\"]",
            "fdbsteer prepare vm1 --bridge br0 --port pci/0000:03:00.5 --address 52:54:00:00:00:01"
        ),
        (
            "bridge = \"br0\"\npf = \"enp3s0\"\nvf = 3\nstandby = \"tap0\"\nuplink = \"bond0\"\naddress = [\"52:54:00:00:00:01\"]",
            "fdbsteer prepare vm1 --bridge br0 --pf enp3s0 --vf 3 --standby tap0 --uplink bond0 --address 52:54:00:00:00:01"
        ),
    ])
    func theKeysAreThoseOfTheCommand(lines: String, command: String) throws {
        #expect(try parse(Self.guest(lines)).guests.first?.preparation?.command == command)
    }

    @Test func aGuestWithoutABridgeIsPreparedByOthers() throws {
        let guest = try #require(try parse(Self.guest("addresses_ip = [\"192.0.2.7\"]\nkind = \"bond\"")).guests.first)
        #expect(guest.preparation == nil && guest.addressesIP.count == 1 && guest.kind == .bond)
    }

    @Test(arguments: [
        ("port = \"tap0\"", "guest[0].port needs guest[0].bridge"),
        ("bridge = \"br0\"", "guest[0] cannot be prepared: name the guest's ports"),
        ("bridge = \"br0\"\nport = \"tap0\"", "no address is given"),
        ("bridge = \"br0\"\nport = \"tap0\"\nstandby = \"tap1\"", "has neither --primary, --standby"),
        ("bridge = \"br0\"\nport = \"br0\"\naddress = [\"52:54:00:00:00:01\"]", "port is the bridge br0 itself"),
        ("bridge = \"br0\"\nport = \"tap0\"\naddress = \"52:54:00:00:00:01\"", "guest[0].address must be an array"),
        ("bridge = \"br0\"\nport = \"tap0\"\naddress = [\"52:54\"]", "guest[0].address must be an array"),
        ("bridge = \"br 0\"\nport = \"tap0\"\naddress = [\"52:54:00:00:00:01\"]", "guest[0].bridge must be"),
        ("ip = [\"192.0.2.7\"]\naddresses_ip = [\"192.0.2.7\"]", "an earlier name of ip"),
        ("bridge = \"br0\"\nprot = \"tap0\"", "did you mean port?"),
        (
            "bridge = \"br0\"\nport = \"tap0\"\naddress = [\"52:54:00:00:00:01\"]\nat = \"primary\"",
            "has no side primary"
        ),
    ])
    func whatCannotBePreparedIsRefused(lines: String, words: String) {
        let found = problems(Self.guest(lines))
        #expect(found.contains { $0.contains(words) }, "\(found)")
    }

    @Test func anAddressHasOneGuestOnABridge() {
        let lines = "bridge = \"br0\"\nport = \"tap0\"\naddress = [\"52:54:00:00:00:01\"]"
        let found = problems(Self.guest(lines) + Self.guest(lines, id: "vm2"))
        #expect(
            found == ["line 7: guest vm2 has address 52:54:00:00:00:01 on br0, which guest vm1 has already"], "\(found)"
        )
        let elsewhere = lines.replacingOccurrence(of: "br0", by: "br1")
        #expect(problems(Self.guest(lines) + Self.guest(elsewhere, id: "vm2")).isEmpty)
    }
}

extension String {
    fileprivate func replacingOccurrence(of text: String, by other: String) -> String {
        split(separator: text, omittingEmptySubsequences: false).joined(separator: other)
    }
}
