import Glibc
import Lab
import Testing

/// The hook as libvirt calls it: a domain's XML on standard input, nothing on standard output, always exit code 0.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct LibvirtHookTests {
    private static let domain = """
        <domain type='kvm' id='3'><name>vm1</name><uuid>4dea22b3-1d52-d8f3-2516-782e98ab3fa0</uuid><devices>
        <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='tap0'/>
        <teaming type='persistent'/><alias name='ua-backup0'/></interface>
        <interface type='hostdev' managed='yes'><mac address='52:54:00:00:00:01'/><source>
        <address type='pci' domain='0x0000' bus='0x3b' slot='0x02' function='0x5'/></source>
        <teaming type='transient' persistent='ua-backup0'/></interface></devices></domain>
        """

    /// Calls the hook with libvirt's arguments.
    private func hook(
        _ lab: CommandLineLab, _ words: String, xml: String = LibvirtHookTests.domain, lines: String = ""
    ) throws -> String {
        let configuration = lab.state + "/hook.conf"
        try TextFile.write(
            "uplink br0 uplink0\nport 0000:3b:02.5 vfrep0\nstate \(lab.state)\n\(lines)", to: configuration)
        try TextFile.write(xml, to: lab.state + "/domain.xml")
        let program = CommandLineLab.products + "/fdbsteer-libvirt-hook"
        let command = try Command.run(
            ["sh", "-c", "exec \(program) \(words) <\(lab.state)/domain.xml"],
            environment: ["FDBSTEER_HOOK_CONFIGURATION": configuration, "FDBSTEER_LIBVIRT_RUN": lab.state])
        #expect(command.exitCode == 0 && command.output.isEmpty, "\(words): \(command.output)\(command.errors)")
        return command.errors
    }

    @Test func fromStartToRelease() throws {
        try CommandLineLab.run(flooding: false) { lab in
            for words in ["prepare begin -", "start begin -"] { _ = try hook(lab, "vm1 \(words)") }
            #expect(try lab.port() == nil)
            let said = try hook(lab, "vm1 started begin -")
            #expect(try lab.port() == "tap0", "\(said)")
            // A second call, as after a crash of libvirt in between, changes nothing.
            _ = try hook(lab, "vm1 started begin -")
            #expect(try lab.fdbsteer("status").output.contains("vm1:ua-backup0"))
            try Command.script("bridge fdb replace 52:54:00:00:00:01 dev vfrep0 master static")
            _ = try hook(lab, "vm1 reconnect begin -")
            #expect(try lab.port() == "tap0")
            _ = try hook(lab, "vm1 stopped end -")
            #expect(try lab.port() == "tap0")
            _ = try hook(lab, "vm1 release end destroyed")
            #expect(try lab.fdbsteer("status").output.contains("no guest"))
        }
    }

    /// `--check` is the operator's: it prints the commands that do the same, and does nothing.
    @Test func aCheckPrintsWhatAStartWouldDo() throws {
        try CommandLineLab.run(flooding: false) { lab in
            func check(_ xml: String, _ lines: String) throws -> Command {
                try TextFile.write(lines, to: lab.state + "/hook.conf")
                try TextFile.write(xml, to: lab.state + "/domain.xml")
                return try Command.run(
                    [
                        "sh", "-c",
                        "exec \(CommandLineLab.products)/fdbsteer-libvirt-hook --check <\(lab.state)/domain.xml",
                    ], environment: ["FDBSTEER_HOOK_CONFIGURATION": lab.state + "/hook.conf"])
            }
            let lines = "uplink br0 uplink0\nport 0000:3b:02.5 vfrep0\n"
            let said = try check(Self.domain, lines)
            #expect(
                said.output == "fdbsteer prepare vm1:ua-backup0 --bridge br0 --primary vfrep0 --standby tap0 "
                    + "--uplink uplink0 --address 52:54:00:00:00:01 --at standby\n", "\(said.errors)")
            #expect(said.exitCode == 0)
            #expect(try lab.port() == nil)
            // The command is the one that the hook carries out.
            let words = said.output.split(whereSeparator: \.isWhitespace).dropFirst().joined(separator: " ")
            let prepared = try lab.fdbsteer(words)
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            #expect(try lab.port() == "tap0")
            for (xml, lines, reason) in [
                (Self.domain, lines + "upling br0\n", "error: configuration: "),
                (Self.domain.replacing("<target dev='tap0'/>", with: ""), lines, "has no tap yet"),
                ("<domain", lines, "cannot be read"),
            ] {
                let said = try check(xml, lines)
                #expect(said.exitCode == 3 && said.output.contains(reason), "\(said.output)")
            }
            let other = try check("<domain><name>vm2</name></domain>", lines)
            #expect(other.exitCode == 0 && other.output.hasPrefix("vm2: nothing is prepared"), "\(other.output)")
        }
    }

    @Test func aMigration() throws {
        try CommandLineLab.run(flooding: false) { lab in
            for words in ["migrate begin -", "prepare begin -", "start begin -"] { _ = try hook(lab, "vm1 \(words)") }
            let said = try hook(lab, "vm1 started begin -")
            #expect(try lab.port() == "uplink0", "\(said)")
            #expect(try lab.fdbsteer("switch vm1:ua-backup0 --to standby").exitCode == 0)
            // The guest leaves this host.
            _ = try hook(lab, "vm1 release end migrated")
            #expect(try lab.fdbsteer("status").output.contains("no guest"))
            #expect(try lab.port() == "uplink0")
            // The next start is independent.
            _ = try hook(lab, "vm1 started begin -")
            #expect(try lab.port() == "tap0")
        }
    }

    /// An interface without `<teaming>`, with a gate while it is awaited.
    @Test func aGuestWithOnePort() throws {
        try CommandLineLab.run(flooding: false) { lab in
            let xml = LibvirtHookTests.domain.replacing("<teaming type='persistent'/>", with: "")
                .replacing(/<interface type='hostdev'(.|\n)*<\/interface>/, with: "")
            let lines = "interfaces bridged\ngate on\n"
            #expect(try hook(lab, "vm1 started begin -", xml: xml).isEmpty, "by default pairs only")
            _ = try hook(lab, "vm1 started begin -", xml: xml, lines: lines)
            #expect(try lab.port() == "tap0")
            #expect(try lab.fdbsteer("status").output.contains(/vm1:ua-backup0 +ok +local +pinned, gate open/))
            _ = try hook(lab, "vm1 release end destroyed", xml: xml, lines: lines)
            _ = try hook(lab, "vm1 migrate begin -", xml: xml, lines: lines)
            _ = try hook(lab, "vm1 started begin -", xml: xml, lines: lines)
            #expect(try lab.port() == "uplink0")
            #expect(try lab.fdbsteer("status").output.contains(/vm1:ua-backup0 +ok +remote +pinned, gate closed/))
            _ = try hook(lab, "vm1 release end migrated", xml: xml, lines: lines)
            #expect(try lab.fdbsteer("status").output.contains("no guest"))
        }
    }

    @Test func aMarkThatAFailedMigrationLeftIsNotBelieved() throws {
        try CommandLineLab.run(flooding: false) { lab in
            _ = try hook(lab, "vm1 migrate begin -")
            // A QEMU that was not started to receive: this process stands in for it.
            try TextFile.write("\(getpid())\n", to: lab.state + "/vm1.pid")
            _ = try hook(lab, "vm1 started begin -")
            #expect(try lab.port() == "tap0")
        }
    }

    @Test func aVFThatWasUnpluggedBeforeTheStopIsReleased() throws {
        try CommandLineLab.run(flooding: false) { lab in
            _ = try hook(lab, "vm1 started begin -")
            #expect(try lab.port() == "tap0")
            try Command.script("ip link del tap0")
            let without = LibvirtHookTests.domain.replacing(/<interface type='hostdev'(.|\n)*<\/interface>/, with: "")
            let said = try hook(lab, "vm1 release end shutdown", xml: without)
            #expect(said.contains("vm1 release: vm1:ua-backup0: release"), "\(said)")
            #expect(try lab.fdbsteer("status").output.contains("no guest"), "\(said)")
            try lab.lab.addPort("tap0")
            let again = try hook(lab, "vm1 started begin -")
            #expect(try lab.port() == "tap0", "\(again)")
        }
    }

    @Test func aFailureNamesDomainAndOperation() throws {
        try CommandLineLab.run { lab in
            let said = try hook(lab, "vm1 started begin -", xml: "")
            #expect(said.contains("fdbsteer-libvirt-hook: vm1 started: error: nothing is prepared"), "\(said)")
        }
    }

    @Test func nothingMakesItFail() throws {
        try CommandLineLab.run { lab in
            #expect(try hook(lab, "vm1 started begin -", xml: "<domain").contains("cannot be read"))
            _ = try hook(lab, "vm1 started begin -", xml: "")
            _ = try hook(lab, "vm1")
            _ = try hook(lab, "")
            _ = try hook(lab, "../../etc/passwd migrate begin -")
            mkdir(lab.state + "/guests", 0o750)
            try TextFile.write(
                "this is no record", to: lab.state + "/guests/vm1.json")
            _ = try hook(lab, "vm1 reconnect begin -")
            _ = try hook(lab, "vm1 started begin -")
            try Command.script("ip link del br0")
            _ = try hook(lab, "vm1 started begin -")
            _ = try hook(lab, "vm1 release end migrated")
        }
    }
}
