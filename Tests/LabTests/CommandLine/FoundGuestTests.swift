import Glibc
import Lab
import Testing

/// Guests whose addresses, or all of it, `prepare` finds by itself.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct FoundGuestTests {
    private static let macs = ["52:54:00:00:07:01", "52:54:00:00:07:02"]

    @Test func allThatLivesBehindAnExclusivePortIsTheGuests() throws {
        try CommandLineLab.run { lab in
            for mac in Self.macs { try BridgeLab.sendFrame(behind: "tap0", source: mac) }
            try BridgeLab.sendFrame(behind: "uplink0", source: "52:54:00:00:07:09")
            let words = "prepare vm7 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --exclusive tap0"
            let prepared = try lab.fdbsteer(words + " --json")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            for mac in Self.macs {
                #expect(try lab.lab.entry(mac)?.contains("dev tap0 master br0 static") == true, "\(prepared.output)")
            }
            #expect(try lab.lab.entry("52:54:00:00:07:09")?.contains("static") == false)
            // The same again finds the same.
            #expect(try lab.fdbsteer(words).exitCode == 0)
            try lab.refused(
                "prepare vm8 --bridge br0 --primary vfrep0 --standby tap0 --exclusive tap0", code: 3,
                saying: "tap0 is a port of guest vm7 too", "--address")
        }
    }

    @Test func whatCannotBeAGuestsOwnIsRefused() throws {
        try CommandLineLab.run { lab in
            let words = "prepare vm7 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0"
            try lab.refused(
                "\(words) --exclusive tap0", code: 3, saying: "no address lives behind tap0 yet", "--address")
            try lab.refused(
                "\(words) --exclusive uplink0", code: 64, saying: "none of the guest's own ports",
                "--exclusive vfrep0 or tap0")
            try lab.refused(
                "\(words) --exclusive tap0 --address \(Self.macs[0])", code: 64, saying: "leave --address out")
            for number in 0..<257 {
                let mac =
                    "52:54:00:00:1" + String(number / 256, radix: 16) + ":"
                    + String(256 + number % 256, radix: 16).dropFirst()
                try Command.script("bridge fdb add \(mac) dev tap0 master static")
            }
            try lab.refused("\(words) --exclusive tap0", code: 3, saying: "257 addresses live behind tap0", "--address")
        }
    }

    private static let domain = """
        <domain type='kvm' id='3'><name>web1</name><uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid><devices>
        <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='tap0'/>
        <teaming type='persistent'/><alias name='net0'/></interface>
        <interface type='hostdev' managed='yes'><mac address='52:54:00:00:00:01'/><source>
        <address type='pci' domain='0x0000' bus='0x3b' slot='0x02' function='0x5'/></source>
        <teaming type='transient' persistent='net0'/></interface></devices></domain>
        """

    /// virsh as it answers, without libvirt.
    @Test func aDomainIsPreparedAsItsXMLSays() throws {
        try CommandLineLab.run { lab in
            let virsh = """
                #!/bin/sh
                [ "$1 $2" = "dumpxml --" ] || exit 9
                if [ "$3" = web1 ]; then echo "warning: <libvirt" >&2; exec cat \(lab.state)/domain.xml; fi
                echo "error: failed to get domain '$3'" >&2
                exit 1
                """
            try TextFile.write(virsh, to: lab.state + "/virsh")
            chmod(lab.state + "/virsh", 0o755)
            try TextFile.write(Self.domain, to: lab.state + "/domain.xml")
            try TextFile.write("uplink br0 uplink0\nport 0000:3b:02.5 vfrep0\n", to: lab.state + "/hook.conf")
            let variables = [
                "FDBSTEER_HOOK_CONFIGURATION": lab.state + "/hook.conf",
                "PATH": "\(lab.state):/usr/sbin:/usr/bin:/sbin:/bin",
            ]
            func run(_ words: String) throws -> Command { try lab.fdbsteer(words, environment: variables) }
            // Where a guest that runs already is, the hook does not know.
            let unknown = try run("prepare --domain web1")
            #expect(unknown.exitCode == 3 && unknown.errors.contains("--at"), "\(unknown.errors)")
            try BridgeLab.sendFrame(behind: "vfrep0", source: "52:54:00:00:00:01")
            let prepared = try run("prepare --domain web1 --kind net_failover")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            let status = try run("status web1:net0 --json").output
            #expect(status.contains("\"side\" : \"primary\"") && status.contains("net_failover"), "\(status)")
            #expect(status.contains("\"uplink0\""), "\(status)")
            let missing = try run("prepare --domain web2")
            #expect(
                missing.exitCode == 3 && missing.errors.contains("failed to get domain 'web2'")
                    && missing.errors.contains("virsh list --all"), "\(missing.errors)")
            let both = try run("prepare vm7 --domain web1 --bridge br0")
            #expect(both.exitCode == 64 && both.errors.contains("leave vm7, --bridge out"), "\(both.errors)")
        }
    }
}
