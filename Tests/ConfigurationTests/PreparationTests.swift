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
        ("bridge = \"br0\"", "guest[0] (vm1) cannot be prepared: name the guest's ports"),
        ("bridge = \"br0\"\nport = \"tap0\"", "no address is given"),
        ("bridge = \"br0\"\nport = \"tap0\"\nstandby = \"tap1\"", "has neither --primary, --standby"),
        ("bridge = \"br0\"\nport = \"br0\"\naddress = [\"52:54:00:00:00:01\"]", "port is the bridge br0 itself"),
        ("bridge = \"br0\"\nport = \"tap0\"\naddress = \"52:54:00:00:00:01\"", "guest[0].address must be an array"),
        (
            "bridge = \"br0\"\nport = \"tap0\"\naddress = [\"52:54:00:00:00:01\", \"52:54\"]",
            "guest[0].address[1]: address \"52:54\" is not a MAC address"
        ),
        (
            "bridge = \"br0\"\nport = \"tap0\"\naddress = [\"01:00:5e:00:00:01\"]",
            "guest[0].address[0]: address \"01:00:5e:00:00:01\" is a multicast MAC"
        ),
        (
            "bridge = \"br0\"\nport = \"tap0\"\naddress = [\"02:fd:b5:00:00:01\"]",
            "guest[0].address[0]: 02:fd:b5:00:00:01 has the prefix 02:fd:b5"
        ),
        ("bridge = \"br0\"\nport = \"tap0\"\naddress = [7]", "guest[0].address[0] must be a string, not"),
        ("ip = [\"192.0.2.7\", \"224.0.0.1\"]", "guest[0].ip[1]: "),
        ("bridge = \"br0\"\nneighbour = [\"br0\", \"\"]", "guest[0].neighbour[1]: \"\" is not an interface's name"),
        (
            "bridge = \"br0\"\nport = \"tap0\"\nip = [\"192.0.2.7\"]\nneighbour = [\"tap0\"]\naddress = [\"52:54:00:00:00:01\"]",
            "tap0 is a port of the bridge, which has no neighbours"
        ),
        (
            "bridge = \"br0\"\nprimary = \"vf0\"\nstandby = \"tap0\"\nuplink = \"tap0\"\naddress = [\"52:54:00:00:00:01\"]",
            "standby and uplink are the same port, tap0"
        ),
        (
            "bridge = \"br0\"\npf = \"tap0\"\nvf = 1\nuplink = \"bond0\"\nstandby = \"tap0\"\naddress = [\"52:54:00:00:00:01\"]",
            "pf and standby are the same interface, tap0"
        ),
        (
            "bridge = \"br0\"\npf = \"br0\"\nvf = 1\nuplink = \"bond0\"\nstandby = \"tap0\"\naddress = [\"52:54:00:00:00:01\"]",
            "pf is the bridge br0 itself"
        ),
        (
            "bridge = \"br0\"\nport = \"tap0\"\ngate = true\naddress = [\"52:54:00:00:00:01\"]",
            "guest[0].gate needs guest[0].uplink"
        ),
        (
            "bridge = \"br0\"\nport = \"tap0\"\nreturn_to_primary = \"when-back\"\naddress = [\"52:54:00:00:00:01\"]",
            "guest[0].return_to_primary: a guest with one port has no primary"
        ),
        ("replay = \"replay\"", "guest[0].replay needs guest[0].follow and guest[0].qmp"),
        ("standby_device = \"net0\"\nprimary_device = \"net0\"", "guest[0].standby_device are the same, net0"),
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

    /// Two tables, the first on bridge br0 with the port tap0, each of which would do.
    @Test(arguments: [
        ("bridge = \"br1\"\nport = \"tap0\"", "guest vm2 has port tap0 on br1, and guest vm1 has it on br0"),
        ("bridge = \"br1\"\nport = \"br0\"", "guest vm2 has port br0, which is the bridge of guest vm1"),
        ("bridge = \"tap0\"\nport = \"tap1\"", "guest vm1 has port tap0, which is the bridge of guest vm2"),
        ("bridge = \"br0\"\nport = \"tap0\"", "guest vm2 has port tap0, at which guest vm1 has a gate"),
        (
            "bridge = \"br0\"\nport = \"tap1\"\nip = [\"192.0.2.1\"]\nneighbour = [\"br0.10\"]",
            "guest vm2 has ip 192.0.2.1 with neighbour br0.10, which guest vm1 has already"
        ),
        (
            "bridge = \"br0\"\nport = \"tap1\"\nfollow = true\nqmp = \"/run/q\"\nstandby_device = \"net0\"\nprimary_device = \"vf1\"",
            "guest vm2 has device net0 of /run/q, which guest vm1 has already"
        ),
    ])
    func whatTwoGuestsCannotBothHaveIsRefused(lines: String, words: String) {
        let first = """
            bridge = "br0"
            port = "tap0"
            uplink = "bond0"
            gate = true
            ip = ["192.0.2.1"]
            neighbour = ["br0.10"]
            address = ["52:54:00:00:00:01"]
            follow = true
            qmp = "/run/q"
            standby_device = "net0"
            primary_device = "vf0"
            """
        #expect(problems(Self.guest(first)).isEmpty)
        let second = lines + "\naddress = [\"52:54:00:00:00:02\"]"
        #expect(problems(Self.guest(second, id: "vm2")).isEmpty)
        let found = problems(Self.guest(first) + Self.guest(second, id: "vm2"))
        #expect(found.count == 1 && found[0].contains(words), "\(found)")
    }

    @Test func anAddressHasOneGuestOnABridge() {
        let lines = "bridge = \"br0\"\nport = \"tap0\"\naddress = [\"52:54:00:00:00:01\"]"
        let found = problems(Self.guest(lines) + Self.guest(lines, id: "vm2"))
        #expect(
            found == ["line 7: guest vm2 has address 52:54:00:00:00:01 on br0, which guest vm1 has already"], "\(found)"
        )
        let elsewhere = lines.replacingOccurrence(of: "br0", by: "br1").replacingOccurrence(of: "tap0", by: "tap1")
        #expect(problems(Self.guest(lines) + Self.guest(elsewhere, id: "vm2")).isEmpty)
    }
}

extension String {
    fileprivate func replacingOccurrence(of text: String, by other: String) -> String {
        split(separator: text, omittingEmptySubsequences: false).joined(separator: other)
    }
}
