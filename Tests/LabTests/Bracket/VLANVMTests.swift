import Glibc
import Lab
import Testing

/// Guests in VLANs, for which the kernel must filter them: in the lab VM.
@Suite(.serialized, .enabled(if: getenv("FDBSTEER_LAB_VM") != nil, "needs the lab VM: VLAN filtering"))
struct VLANVMTests {
    private static let mac = CommandLineLab.mac

    private static func run(
        _ vlanProtocol: String = "802.1Q", vlans: [Int], _ body: @escaping @Sendable (BracketLab) throws -> Void
    ) throws {
        try BracketLab.run(
            addresses: vlans.map { "\(mac)/\($0)" },
            before: {
                try Command.script("ip link set br0 type bridge vlan_filtering 1 vlan_protocol \(vlanProtocol)")
                for port in BracketLab.ports {
                    for vlan in vlans { try Command.script("bridge vlan add dev \(port) vid \(vlan)") }
                }
            }, body)
    }

    /// A copy and an announcement have the bridge's type of tag: in a tag of the other type the frame is in another VLAN.
    @Test(arguments: [("802.1Q", UInt16(0x8100), UInt16(0x88a8)), ("802.1ad", 0x88a8, 0x8100)])
    func theTypeOfTheBridgesTags(name: String, type: UInt16, other: UInt16) throws {
        try Self.run(name, vlans: [20]) { it in
            let tally = try FrameTally(["vfrep0-far", "tap0-far", "third0-far"])
            func counts(_ type: UInt16) throws -> [FrameTally.Counts?] {
                let counts = try tally.send(
                    20, from: "uplink0-far", to: Self.mac, source: "52:54:00:fd:b5:fe", vlan: 20, tagType: type)
                return ["vfrep0-far", "tap0-far", "third0-far"].map { counts[$0] }
            }
            #expect(try counts(type) == [FrameTally.once(20), [:], [:]])
            try it.expect("switch vm1 --to standby --strategy bracket")
            #expect(try counts(type) == [FrameTally.once(20), FrameTally.once(20), [:]])
            #expect(try it.expect("status").output.contains("20 frames copied"))
            // In VLAN 1 the address is unknown: flooded to all, and not copied as well.
            #expect(try counts(other) == [FrameTally.once(20), FrameTally.once(20), FrameTally.once(20)])
            try it.expect("abort vm1")
            #expect(try counts(type) == [FrameTally.once(20), [:], [:]])
        }
    }

    /// A neighbour's frames do not take an address in the VLAN where it is guarded: tagged with the bridge's type; without a tag, or with one
    /// of the other type, which is none to the bridge, in the port's PVID.
    @Test(arguments: [("802.1Q", UInt16(0x8100), UInt16(0x88a8)), ("802.1ad", 0x88a8, 0x8100)])
    func theGuardKnowsTheTypeOfTheBridgesTags(name: String, type: UInt16, other: UInt16) throws {
        try Self.run(name, vlans: [20]) { it in
            let tally = try FrameTally(["vfrep0-far"])
            func steal(vlan: UInt16?, _ type: UInt16) throws -> [String] {
                _ = try tally.send(
                    5, from: "third0-far", to: "52:54:00:fd:b5:fe", source: Self.mac, vlan: vlan, tagType: type)
                let entries = try Command.run(["bridge", "fdb", "show", "br", "br0"]).output
                return entries.split(separator: "\n").filter { $0.hasPrefix(Self.mac) && $0.contains("vlan 20") }
                    .map { String($0.split(separator: " ")[2]) }
            }
            #expect(try steal(vlan: 20, type) == ["vfrep0"])
            #expect(try it.expect("verify vm1").output.contains("5 frames from"))
            // In VLAN 1 the address is nobody's.
            #expect(try steal(vlan: 20, other) == ["vfrep0"])
            #expect(try steal(vlan: nil, type) == ["vfrep0"])
            #expect(try it.expect("verify vm1").output.contains("5 frames from"))
            try Command.script("bridge vlan add dev third0 vid 20 pvid untagged")
            try it.expect("reconcile")
            #expect(try steal(vlan: 20, other) == ["vfrep0"])
            #expect(try it.expect("verify vm1").output.contains("10 frames from"))
            // nft(8) reads what it lists.
            let reload = "set -e; saved=$(nft list ruleset); nft flush ruleset; echo \"$saved\" | nft -f -"
            #expect(try Command.run(["sh", "-c", reload]).exitCode == 0)
            try it.expect("verify vm1")
        }
    }

    /// The kernel neither changes nor deletes an entry in a VLAN that its port has not: the rest is given back all the same.
    @Test func aVLANThatLeftThePort() throws {
        try Self.run(vlans: [20, 30]) { it in
            for port in ["vfrep0", "tap0"] { try Command.script("bridge vlan del dev \(port) vid 20") }
            let verify = try it.expect("verify vm1", exitCode: 3)
            #expect(verify.output.contains("problem: vfrep0: VLAN 20"), "\(verify.output)")
            let move = try it.expect("switch vm1 --to standby", exitCode: 4)
            #expect(move.errors.contains("VLAN 20 is not on tap0"), "\(move.errors)")
            let release = try it.expect("release vm1", exitCode: 5)
            #expect(release.output.contains("1 address given back to learning, 1 of 2"), "\(release.output)")
            #expect(release.errors.contains("VLAN 20 is not on vfrep0"), "\(release.errors)")
            let entries = try Command.run(["bridge", "fdb", "show", "br", "br0"]).output
            #expect(entries.contains("\(Self.mac) dev vfrep0 vlan 30 master br0 \n"), "\(entries)")
            #expect(entries.contains("\(Self.mac) dev vfrep0 vlan 20 master br0 static"), "\(entries)")
            let links = try Command.run(["bridge", "-d", "link"]).output
            #expect(!links.contains("learning off") && !links.contains("backup_port"), "\(links)")
            #expect(try it.expect("status").output.contains("no guest is prepared"))
        }
    }
}
