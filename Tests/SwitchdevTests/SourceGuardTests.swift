import FDB
import Glibc
import Lab
import Netlink
import Testing

@testable import Switchdev

/// The guard of guests' addresses in the running kernel.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct SourceGuardTests {
    private static let guest = "52:54:00:fd:b6:01"
    private static let other = "52:54:00:fd:b6:02"
    private static let peer = "52:54:00:fd:b6:fe"

    private final class Bench {
        let lab: BridgeLab
        var socket: CommandSocket
        let tally: FrameTally

        init() throws {
            lab = try BridgeLab(extraPorts: ["third0"])
            socket = try CommandSocket()
            tally = try FrameTally(["uplink0-far", "vfrep0-far", "tap0-far", "third0-far"])
            for port in ["vfrep0", "tap0"] { try Command.script("bridge link set dev \(port) learning off") }
            try pin()
        }

        func pin(_ address: String = SourceGuardTests.guest, vlan: UInt16? = nil) throws {
            let vlan = vlan.map { "vlan \($0)" } ?? ""
            try Command.script("bridge fdb replace \(address) dev vfrep0 master static \(vlan)")
        }

        /// What `prepare` asks for.
        func specification(_ addresses: [String] = [SourceGuardTests.guest], guest: String = "vm1") throws
            -> SourceGuard
        {
            let links = try Links.snapshot(using: &socket)
            func port(_ name: String) throws -> SourceGuard.Port {
                SourceGuard.Port(index: try #require(links[name]).index, name: name)
            }
            let bridge = try #require(links["br0"])
            var pvids: [Int32: UInt16] = [:]
            if bridge.bridge?.filtersVLANs == true {
                let read = try PortVLANs.pvids(using: &socket)
                for port in links.ports(of: bridge.index) { pvids[port.index] = read[port.index] ?? 0 }
            }
            return try SourceGuard(
                bridge: port("br0"), filtersVLANs: bridge.bridge?.filtersVLANs == true,
                tagType: bridge.bridge?.tagType ?? 0x8100, defaultPVID: bridge.bridge?.defaultPVID ?? 0, guest: guest,
                addresses: addresses.map { try Address($0) },
                ports: [port("vfrep0"), port("tap0"), port("uplink0")],
                fabric: SourceGuard.fabric(of: bridge.index, links),
                pvids: pvids)
        }

        func install(_ spec: SourceGuard) throws {
            try socket.withPacketFilters { socket throws(NetlinkError) in
                try SourceGuardTable.install(spec, using: &socket)
            }
        }

        func remove(_ spec: SourceGuard) throws {
            try socket.withPacketFilters { socket throws(NetlinkError) in
                try SourceGuardTable.remove(spec, using: &socket)
            }
        }

        func holds(_ spec: SourceGuard) throws -> Bool {
            try socket.withPacketFilters { socket throws(NetlinkError) in
                try SourceGuardTable.holds(spec, using: &socket)
            }
        }

        func refused() throws -> [RefusedSource] {
            let bridge = try #require(try Links.snapshot(using: &socket)["br0"]).index
            return try socket.withPacketFilters { socket throws(NetlinkError) in
                try SourceGuardTable.refused(onBridge: bridge, using: &socket)
            }
        }

        func dropped() throws -> [String: UInt64] {
            let bridge = try #require(try Links.snapshot(using: &socket)["br0"]).index
            return try socket.withPacketFilters { socket throws(NetlinkError) in
                try SourceGuardTable.dropped(onBridge: bridge, using: &socket)
            }
        }

        /// Sends from an address by a port, and returns the port where the bridge has it then.
        ///
        /// - Parameters:
        ///   - vlan: of the frames' tag.
        ///   - entry: the VLAN of the entry.
        func steal(
            from port: String = "third0", _ address: String = SourceGuardTests.guest, vlan: UInt16? = nil,
            entry: UInt16? = nil
        ) throws -> String {
            _ = try tally.send(5, from: BridgeLab.far(port), to: SourceGuardTests.peer, source: address, vlan: vlan)
            return try place(address, entry: entry)
        }

        /// The port where the bridge has an address.
        func place(_ address: String = SourceGuardTests.guest, entry: UInt16? = nil) throws -> String {
            let table = try Command.run(["bridge", "fdb", "show", "br", "br0"]).output
            let line = table.split(separator: "\n").first { line in
                line.hasPrefix(address) && (entry.map { line.contains("vlan \($0) ") } ?? !line.contains("vlan"))
            }
            let words = (line ?? "").split(separator: " ")
            return words.count > 2 ? String(words[2]) : ""
        }

        var tables: String { get throws { try Command.run(["nft", "list", "tables", "bridge"]).output } }
    }

    @Test func onlyTheGuestsPortsMoveItsEntry() throws {
        try Namespace.run {
            let bench = try Bench()
            #expect(try bench.steal() == "third0", "a static entry roams")
            try bench.pin()
            let spec = try bench.specification()
            try bench.install(spec)
            #expect(try bench.holds(spec))
            #expect(try bench.steal() == "vfrep0")
            let refused = try bench.refused()
            #expect(refused.map(\.frames) == [5] && refused.first?.mac == MACAddress(Self.guest))
            #expect(try refused.first?.port == Links.snapshot(using: &bench.socket)["third0"]?.index)
            #expect(try bench.steal(from: "uplink0") == "uplink0", "the guest has left")
            try bench.pin()
            #expect(try bench.steal(Self.other) == "third0", "nobody's guest")
            let chain = SourceGuard.chain(of: "vm1")
            #expect(try bench.dropped() == [chain: 5])
            try bench.install(spec)
            #expect(try bench.steal() == "vfrep0", "made again")
            try bench.remove(spec)
            #expect(try bench.tables.isEmpty)
            #expect(try !bench.holds(spec))
            try bench.remove(spec)
            #expect(try bench.steal() == "third0")
        }
    }

    /// What the table says holds for ports that come after it, and for own ports that are renamed, or made anew.
    @Test func portsThatComeAndChangeAreCovered() throws {
        try Namespace.run {
            let bench = try Bench()
            try bench.install(bench.specification())
            try bench.lab.addPort("late0")
            #expect(try bench.steal(from: "late0") == "vfrep0")
            try Command.script("ip link set tap0 name tapX\nbridge link set dev tapX learning on")
            #expect(try bench.steal(from: "tap0") == "tapX")
            try bench.pin()
            try Command.script("ip link del tapX")
            try bench.lab.addPort("tap0")
            #expect(try bench.steal(from: "tap0") == "tap0")
        }
    }

    /// The kernel has devices for VLANs, and bridges that filter them. Not every host's has; the lab VM's does.
    private static let knowsVLANs: Bool = {
        (try? Namespace.run {
            try Command.script(
                "ip link add brv type bridge vlan_filtering 1\nip link add link brv name brv.7 type vlan id 7")
        }) != nil
    }()

    /// What is behind a VLAN device or another bridge's port is no neighbour.
    @Test(.enabled(if: knowsVLANs)) func theFabricMaySend() throws {
        try Namespace.run {
            let bench = try Bench()
            try Command.script(
                """
                ip link add under type veth peer name under-far
                ip link set under up
                ip link set under-far up
                ip link add link under name under.7 type vlan id 7
                ip link set under.7 master br0 up
                ip link add br1 type bridge
                ip link set br1 up
                ip link add b1p type veth peer name b1p-far
                ip link set b1p master br1 up
                ip link set b1p-far up
                """)
            try bench.install(bench.specification())
            let tally = try FrameTally(["under-far", "b1p-far"])
            for _ in 0..<200 {
                if try Command.run(["bridge", "link", "show", "dev", "under.7"]).output.contains("forwarding") {
                    break
                }
                usleep(10_000)
            }
            _ = try tally.send(3, from: "under-far", to: Self.peer, source: Self.guest, vlan: 7)
            #expect(try bench.place() == "under.7")
            _ = try tally.send(3, from: "b1p-far", to: Self.peer, source: Self.guest)
            #expect(try Command.run(["bridge", "fdb", "show", "br", "br1"]).output.contains(Self.guest))
        }
    }

    @Test(.enabled(if: knowsVLANs)) func vlansAreToldApart() throws {
        try Namespace.run {
            let bench = try Bench()
            try Command.script("ip link set br0 type bridge vlan_filtering 1")
            for port in ["uplink0", "vfrep0", "tap0", "third0"] {
                try Command.script("bridge vlan add dev \(port) vid 10\nbridge vlan add dev \(port) vid 20")
            }
            for vlan: UInt16 in [1, 10] { try bench.pin(vlan: vlan) }
            try bench.pin(vlan: 20)
            let addresses = ["\(Self.guest)/1", "\(Self.guest)/10"]
            let spec = try bench.specification(addresses)
            try bench.install(spec)
            #expect(try bench.holds(spec))
            #expect(try bench.steal(vlan: 10, entry: 10) == "vfrep0", "tagged")
            #expect(try bench.steal(entry: 1) == "vfrep0", "untagged: the PVID")
            #expect(try bench.steal(vlan: 0, entry: 1) == "vfrep0", "a tag with a priority alone")
            #expect(try bench.steal(vlan: 20, entry: 20) == "third0", "another VLAN is another guest's")
            try bench.lab.addPort("late0")
            #expect(try bench.steal(from: "late0", entry: 1) == "vfrep0", "a new port has the bridge's PVID")
            try Command.script("bridge vlan add dev third0 vid 10 pvid untagged")
            try bench.install(bench.specification(addresses))
            #expect(try bench.steal(entry: 10) == "vfrep0", "another PVID")
            try Command.script("bridge vlan add dev third0 vid 20 pvid untagged")
            try bench.pin(vlan: 20)
            try bench.install(bench.specification(addresses))
            #expect(try bench.steal(entry: 20) == "third0", "untagged in a VLAN without a guest")
            try bench.remove(spec)
            #expect(try bench.tables.isEmpty)
        }
    }

    /// A trial tells a kernel that can from one that cannot, and leaves nothing.
    @Test func aTrialMakesNothing() throws {
        try Namespace.run {
            let bench = try Bench()
            try SourceGuardTable.check(using: &bench.socket)
            try AskShield.check("tap0", using: &bench.socket)
            #expect(throws: NetlinkError.self) { try AskShield.check("a-name-that-no-port-has", using: &bench.socket) }
            #expect(try Command.run(["nft", "list", "ruleset"]).output == "")
        }
    }

    @Test func guestsShareATable() throws {
        try Namespace.run {
            let bench = try Bench()
            let first = try bench.specification()
            let second = try bench.specification([Self.other], guest: "pci:0000:03:00.5")
            try bench.install(first)
            try bench.install(second)
            try bench.remove(first)
            #expect(try bench.tables.contains("fdbsteer-guard-"))
            #expect(try !bench.holds(first))
            #expect(try bench.holds(second))
            let reload = "set -e; saved=$(nft list ruleset); nft flush ruleset; echo \"$saved\" | nft -f -"
            #expect(try Command.run(["sh", "-c", reload]).exitCode == 0)
            #expect(try bench.holds(second), "nft(8) reads what it lists")
            try Command.script("bridge fdb replace \(Self.other) dev vfrep0 master static")
            #expect(try bench.steal(Self.other) == "vfrep0")
            try bench.remove(second)
            #expect(try bench.tables.isEmpty)
        }
    }

    @Test func thousandsOfAddressesAreGuarded() throws {
        try Namespace.run {
            let bench = try Bench()
            let many = (0..<5000).map { "52:54:00:e0:\(($0 >> 8).hex):\(($0 & 0xff).hex)" }
            let spec = try bench.specification(many)
            try bench.install(spec)
            #expect(try bench.holds(spec))
            try bench.remove(spec)
            #expect(try bench.tables.isEmpty)
        }
    }

    /// Tables with bits turned over, and cut off, do not trap.
    @Test func noBytesTrapTheDecoders() throws {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let bytes = (0..<Int.random(in: 0..<80, using: &generator)).map { _ in
                UInt8.random(in: 0...12, using: &generator)
            }
            bytes.withUnsafeBytes {
                _ = GuardReply.elements(in: $0)
                _ = GuardReply.comment(in: $0)
                _ = GuardReply.chain(in: $0)
                _ = GuardReply.generation(in: $0)
            }
        }
    }
}

extension Int {
    fileprivate var hex: String { (self < 16 ? "0" : "") + String(self, radix: 16) }
}
