import FDB
import Lab
import Netlink
import Switchdev
import Testing

/// Copies in the running kernel, frame by frame.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct CopiesTests {
    private static let guest = "52:54:00:fd:b5:01"
    private static let peer = "52:54:00:fd:b5:fe"

    /// A bridge with a third port, its interface indexes, and everything that a test needs for copies.
    private final class Bench {
        let lab: BridgeLab
        var socket: CommandSocket
        let links: Links
        let tally: FrameTally

        init() throws {
            lab = try BridgeLab(extraPorts: ["third0"])
            socket = try CommandSocket()
            links = try Links.snapshot(using: &socket)
            tally = try FrameTally(["uplink0-far", "vfrep0-far", "tap0-far", "third0-far"])
            try Command.script("bridge fdb replace \(CopiesTests.guest) dev tap0 master static")
        }

        func index(_ name: String) -> Int32 { links[name]?.index ?? 0 }

        func specification(
            _ addresses: [String] = [CopiesTests.guest], tag: CopySpecification.Tag = .any,
            groups: CopySpecification.Groups = [], number: UInt32 = 7, label: String = "vm1"
        ) -> CopySpecification {
            CopySpecification(
                source: index("tap0"), target: index("vfrep0"),
                matches: addresses.compactMap { MACAddress($0) }.map { .init(mac: $0, tag: tag) }, groups: groups,
                number: number, label: label)
        }

        func install(_ specification: CopySpecification, by means: CopyMeans = .clsact) throws {
            try Copies.install(
                specification, by: means, portName: "tap0", ownsClsact: means == .clsact, using: &socket)
        }

        func send(
            _ count: Int = 20, to destination: String = CopiesTests.guest, source: String = CopiesTests.peer,
            from port: String = "uplink0", vlan: UInt16? = nil
        ) throws -> [String: FrameTally.Counts] {
            try tally.send(
                count, from: BridgeLab.far(port), to: destination, source: source, vlan: vlan)
        }
    }

    private static let once = FrameTally.once(20)

    /// The number of packet filter sockets in the calling thread's namespace; the kernel's own has no port.
    private static func packetFilterSockets() throws -> Int {
        try Command.run(["cat", "/proc/net/netlink"]).output.split(separator: "\n").count { line in
            let columns = line.split(separator: " ")
            return columns.count > 2 && columns[1] == "12" && columns[2] != "0"
        }
    }

    @Test("tables come and go by one socket, which is not closed while another guest is waiting")
    func oneSocketForTables() throws {
        try Namespace.run {
            do {
                let bench = try Bench()
                for label in ["vm1", "vm2"] {
                    let specification = bench.specification(label: label)
                    try bench.install(specification, by: .nftables)
                    #expect(try Copies.state(specification, by: .nftables, using: &bench.socket)?.isAsSpecified == true)
                    try Copies.remove(specification, by: .nftables, ownsClsact: false, using: &bench.socket)
                    #expect(try Self.packetFilterSockets() == 1)
                }
                #expect(try Command.run(["nft", "list", "tables"]).output == "")
            }
            #expect(try Self.packetFilterSockets() == 0)
        }
    }

    @Test(arguments: [CopyMeans.clsact, .nftables])
    func eachPortGetsEachFrameOnceAndNoThirdPortAny(means: CopyMeans) throws {
        try Namespace.run {
            let bench = try Bench()
            let specification = bench.specification()
            if means == .nftables { try Command.script("tc qdisc add dev tap0 handle ffff: ingress") }
            try bench.install(specification, by: means)
            // From the uplink, from a third port, and from behind the primary itself.
            for port in ["uplink0", "third0", "vfrep0"] {
                let counts = try bench.send(from: port)
                #expect(counts["tap0-far"] == Self.once)
                #expect(counts["vfrep0-far"] == Self.once)
                #expect(counts["third0-far"] == [:] && counts["uplink0-far"] == [:])
            }
            let state = try #require(try Copies.state(specification, by: means, using: &bench.socket))
            #expect(state.frames == 60 && state.failed == 0 && state.isAsSpecified)
            #expect(state.bytes >= 60 * 60)
            try Copies.remove(specification, by: means, ownsClsact: true, using: &bench.socket)
            #expect(try Copies.state(specification, by: means, using: &bench.socket) == nil)
            let after = try bench.send()
            #expect(after["tap0-far"] == Self.once && after["vfrep0-far"] == [:])
            let left = try Command.run(["tc", "qdisc", "show", "dev", "tap0"]).output
            #expect(left.contains("ingress") == (means == .nftables) && !left.contains("clsact"))
        }
    }

    @Test func whatTheGuestSendsAndWhatIsForOthersIsNotCopied() throws {
        try Namespace.run {
            let bench = try Bench()
            try Command.script("bridge fdb replace \(Self.peer) dev uplink0 master static")
            try bench.install(bench.specification())
            let sent = try bench.send(to: Self.peer, source: Self.guest, from: "tap0")
            #expect(sent["uplink0-far"] == Self.once && sent["vfrep0-far"] == [:])
            let bySecond = try bench.send(to: Self.peer, source: Self.guest, from: "vfrep0")
            #expect(bySecond["uplink0-far"] == Self.once && bySecond["tap0-far"] == [:])
            // The bridge floods these to both ports, so a copy would be a second frame.
            for group in ["ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "52:54:00:00:00:99"] {
                let flooded = try bench.send(to: group)
                for place in ["tap0-far", "vfrep0-far", "third0-far"] {
                    #expect(flooded[place] == Self.once, "\(group) at \(place)")
                }
            }
            let state = try Copies.state(bench.specification(), by: .clsact, using: &bench.socket)
            #expect(state?.frames == 0)
        }
    }

    @Test(arguments: [CopyMeans.clsact, .nftables])
    func groupsThatTheBridgeFloodsToOneOnlyAreCopiedButForTheGuestsOwn(means: CopyMeans) throws {
        try Namespace.run {
            let bench = try Bench()
            try Command.script("bridge link set dev vfrep0 bcast_flood off mcast_flood off")
            for groups: CopySpecification.Groups in [.broadcast, .multicast, [.broadcast, .multicast]] {
                let specification = bench.specification(groups: groups)
                try bench.install(specification, by: means)
                let broadcast = try bench.send(to: "ff:ff:ff:ff:ff:ff")
                #expect(broadcast["tap0-far"] == Self.once)
                #expect(broadcast["vfrep0-far"] == (groups.contains(.broadcast) ? Self.once : [:]))
                let multicast = try bench.send(to: "01:00:5e:00:00:fb")
                #expect(multicast["vfrep0-far"] == (groups.contains(.multicast) ? Self.once : [:]))
                // A broadcast that the guest sends through its primary must not return to it there.
                let own = try bench.send(to: "ff:ff:ff:ff:ff:ff", source: Self.guest, from: "vfrep0")
                #expect(own["tap0-far"] == Self.once && own["vfrep0-far"] == [:])
                #expect(try bench.send()["vfrep0-far"] == Self.once)
            }
        }
    }

    @Test(arguments: [CopyMeans.clsact, .nftables])
    func tagsAreTold(means: CopyMeans) throws {
        try Namespace.run {
            let bench = try Bench()
            if means == .nftables { try Command.script("tc qdisc add dev tap0 handle ffff: ingress") }
            let vlan = try #require(VLANID(rawValue: 10))
            for (tag, tags) in [
                (CopySpecification.Tag.any, [nil, 10, 20]), (.untagged, [nil]), (.vlan(vlan), [10]),
            ] as [(CopySpecification.Tag, [UInt16?])] {
                let specification = bench.specification(tag: tag)
                try bench.install(specification, by: means)
                #expect(
                    try Copies.state(specification, by: means, using: &bench.socket)?.isAsSpecified == true)
                for sent: UInt16? in [nil, 10, 20] {
                    let counts = try bench.send(vlan: sent)
                    #expect(counts["tap0-far"] == Self.once)
                    #expect(
                        counts["vfrep0-far"] == (tags.contains(sent) ? Self.once : [:]), "\(tag), sent \(sent ?? 0)")
                }
            }
        }
    }

    @Test(arguments: [CopyMeans.clsact, .nftables])
    func sixtyFourAddressesAreOneFilter(means: CopyMeans) throws {
        try Namespace.run {
            let bench = try Bench()
            if means == .nftables { try Command.script("tc qdisc add dev tap0 handle ffff: ingress") }
            let addresses = (0..<64).map { "52:54:00:00:01:" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }
            for address in addresses { try Command.script("bridge fdb replace \(address) dev tap0 master static") }
            let specification = bench.specification(addresses)
            try bench.install(specification, by: means)
            for address in addresses {
                let counts = try bench.tally.send(3, from: "uplink0-far", to: address, source: Self.peer)
                #expect(counts["vfrep0-far"] == FrameTally.once(3), "\(address)")
            }
            // One MAC that differs only in the first octets, and one that differs in the last.
            for other in ["52:56:00:00:01:05", "52:54:00:00:01:99"] {
                try Command.script("bridge fdb replace \(other) dev tap0 master static")
                #expect(try bench.send(to: other)["vfrep0-far"] == [:])
            }
            #expect(try Copies.state(specification, by: means, using: &bench.socket)?.frames == 192)
        }
    }

    @Test func othersFiltersAndClsactSurvive() throws {
        try Namespace.run {
            let bench = try Bench()
            try Command.script(
                """
                tc qdisc add dev tap0 clsact
                tc filter add dev tap0 egress protocol all prio 300 u32 match u32 0 0 action mirred egress mirror dev third0
                """)
            let before = try Command.run(["tc", "filter", "show", "dev", "tap0", "egress"]).output
            let specification = bench.specification()
            try bench.install(specification)
            let counts = try bench.send()
            // Our filter does not end the classification: the other program's filter copies as before.
            #expect(counts["vfrep0-far"] == Self.once && counts["third0-far"] == Self.once)
            let shown = try Command.run(["tc", "filter", "show", "dev", "tap0", "egress"]).output
            #expect(shown.contains("bytecode '\(CopyProgram(specification).bytecode)'"), "\(shown)")
            try Copies.remove(specification, by: .clsact, ownsClsact: true, using: &bench.socket)
            #expect(try Command.run(["tc", "filter", "show", "dev", "tap0", "egress"]).output == before)
            // A second removal is not an error, and the other program's filter still stays.
            try Copies.remove(specification, by: .clsact, ownsClsact: true, using: &bench.socket)
            #expect(try Command.run(["tc", "qdisc", "show", "dev", "tap0"]).output.contains("clsact"))
        }
    }

    @Test func aForeignFilterOfTheSameNumberIsLeftAlone() throws {
        try Namespace.run {
            let bench = try Bench()
            let foreign =
                "tc filter add dev tap0 egress protocol all prio \(TrafficControlRequest.preference) handle 7 "
                + "bpf bytecode 1,6|0|0|0 action mirred egress mirror dev third0"
            try Command.script("tc qdisc add dev tap0 clsact")
            let added = try Command.run(
                foreign.split(separator: " ").map { $0 == "1,6|0|0|0" ? "1,6 0 0 0," : String($0) })
            #expect(added.exitCode == 0, "\(added.errors)")
            let specification = bench.specification()
            var failure: NetlinkError?
            do { try bench.install(specification) } catch let error as NetlinkError { failure = error }
            #expect(failure?.message.contains("somebody else's filter") == true)
            try Copies.remove(specification, by: .clsact, ownsClsact: true, using: &bench.socket)
            #expect(try Copies.filters(on: bench.index("tap0"), egress: true, using: &bench.socket).count == 1)
        }
    }

    @Test func twoGuestsOnOnePortHaveACopyEach() throws {
        try Namespace.run {
            let bench = try Bench()
            let other = "52:54:00:fd:b5:02"
            try Command.script("bridge fdb replace \(other) dev tap0 master static")
            let first = bench.specification()
            let second = bench.specification([other], number: 8, label: "vm2")
            try bench.install(first)
            try Copies.install(second, by: .clsact, portName: "tap0", ownsClsact: false, using: &bench.socket)
            #expect(try bench.send()["vfrep0-far"] == Self.once)
            #expect(try bench.send(to: other)["vfrep0-far"] == Self.once)
            try Copies.remove(first, by: .clsact, ownsClsact: true, using: &bench.socket)
            #expect(try bench.send()["vfrep0-far"] == [:])
            #expect(try bench.send(to: other)["vfrep0-far"] == Self.once)
            #expect(try Copies.state(second, by: .clsact, using: &bench.socket)?.frames == 40)
        }
    }

    @Test func aClsactThatIsThereIsUsedAndNoneIsMadeWhereNftablesCanCopy() throws {
        try Namespace.run {
            let bench = try Bench()
            let port = bench.index("tap0")
            let bare = try Copies.footing(on: port, named: "tap0", using: &bench.socket)
            #expect(bare == Copies.Footing(means: .nftables, hasClsact: false))
            // The check leaves nothing behind.
            #expect(try Command.run(["nft", "list", "tables"]).output == "")
            #expect(try !Command.run(["tc", "qdisc", "show", "dev", "tap0"]).output.contains("clsact"))
            try Command.script("tc qdisc add dev tap0 clsact")
            let present = try Copies.footing(on: port, named: "tap0", using: &bench.socket)
            #expect(present == Copies.Footing(means: .clsact, hasClsact: true))
            try Command.script("tc qdisc del dev tap0 clsact\ntc qdisc add dev tap0 handle ffff: ingress")
            let excluded = try Copies.footing(on: port, named: "tap0", using: &bench.socket)
            #expect(excluded == Copies.Footing(means: .nftables, hasClsact: false))
        }
    }

    @Test func nftReadsWhatWasWritten() throws {
        try Namespace.run {
            let bench = try Bench()
            let vlan = try #require(VLANID(rawValue: 10))
            try bench.install(bench.specification(tag: .vlan(vlan), groups: [.broadcast, .multicast]), by: .nftables)
            let listing = try Command.run(["nft", "list", "table", "netdev", "fdbsteer-vm1"]).output
            for words in [
                "type filter hook egress device \"tap0\"", "ether daddr @addresses10", "ether saddr != @guest",
                "vlan id 10", "dup to \"vfrep0\"", Self.guest,
            ] {
                #expect(listing.contains(words), "\(listing)")
            }
        }
    }

    @Test(
        arguments: [
            ("vm1:net0", .any), ("a.b-c_d:e:f", .untagged), ("1", .vlan(VLANID(rawValue: 10)!)),
            ("4dea22b3-1d52-d8f3-2516-782e98ab3fa0:ua-net0", .any),
        ] as [(String, CopySpecification.Tag)])
    func aSavedRulesetCanBeLoadedWhateverTheGuestsName(label: String, tag: CopySpecification.Tag) throws {
        try Namespace.run {
            let bench = try Bench()
            let specification = bench.specification(tag: tag, groups: [.broadcast, .multicast], label: label)
            try bench.install(specification, by: .nftables)
            let saved = try Command.run(["nft", "list", "ruleset"]).output
            #expect(saved.contains(specification.tableName), "\(saved)")
            let folder = try TemporaryFolder()
            defer { folder.remove() }
            try TextFile.write(saved, to: folder.path + "/rules")
            let loaded = try Command.run(["sh", "-c", "nft flush ruleset && nft -f \(folder.path)/rules"])
            #expect(loaded.exitCode == 0, "\(loaded.errors)\(saved)")
            #expect(try Command.run(["nft", "list", "ruleset"]).output == saved)
            let removed = try Command.run(["nft", "delete", "table", "netdev", specification.tableName])
            #expect(removed.exitCode == 0, "\(removed.errors)")
        }
    }

    @Test func aCopyToAPortThatIsGoneLeavesNothingBehind() throws {
        try Namespace.run {
            let bench = try Bench()
            let specification = CopySpecification(
                source: bench.index("tap0"), target: 4242, matches: bench.specification().matches, number: 7,
                label: "vm1")
            #expect(throws: NetlinkError.self) { try bench.install(specification) }
            #expect(try !Command.run(["tc", "qdisc", "show", "dev", "tap0"]).output.contains("clsact"))
        }
    }
}
