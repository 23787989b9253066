import Glibc
import Lab
import Testing

/// fdbsteerd and a guest of a real libvirt, whose events real virsh prints.
@Suite(
    .enabled(
        if: getenv("FDBSTEER_LIBVIRT_TESTS") != nil, "boots a guest: scripts/test runs it apart, not beside others"),
    .enabled(if: LibvirtDaemon.obstacle == nil, "\(LibvirtDaemon.obstacle ?? "")"),
    .enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct LibvirtEventsTests {
    /// Copies kernel and initramfs to a folder that libvirtd can see.
    private static func copyImage(to folder: String) throws {
        let built = try Command.run([Checkout.path + "/bench/guest/build"])
        guard built.exitCode == 0 else { throw LabError("bench/guest/build: \(built.errors)") }
        let image = built.output.dropLast()
        try Command.script("cp -L \(image)/vmlinuz \(image)/initramfs.gz \(folder)")
    }

    private static func domain(in folder: String) -> String {
        """
        <domain type='qemu'><name>web1</name><memory unit='MiB'>256</memory><vcpu>1</vcpu>
        <os><type arch='x86_64' machine='q35'>hvm</type><kernel>\(folder)/vmlinuz</kernel>
        <initrd>\(folder)/initramfs.gz</initrd>
        <cmdline>console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 ipv6.disable=1</cmdline></os>
        <features><acpi/></features>
        <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
        <controller type='usb' model='none'/><memballoon model='none'/>
        <interface type='bridge'><mac address='\(CommandLineLab.mac)'/><source bridge='br0'/><target dev='tap0'/>
        <model type='virtio'/><rom enabled='no'/><teaming type='persistent'/><alias name='ua-standby0'/></interface>
        </devices></domain>
        """
    }

    @Test func aGuestIsFollowedByLibvirtsOwnEvents() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try Command.script("ip link del tap0")
            let folder = lab.state + "/libvirt"
            mkdir(folder, 0o755)
            try LibvirtEventsTests.copyImage(to: folder)
            let libvirt = try LibvirtDaemon(
                name: "host0", number: 0, folder: folder, hook: CommandLineLab.products + "/fdbsteer-libvirt-hook",
                configuration: "state \(lab.state)\n")
            try TextFile.write(LibvirtEventsTests.domain(in: folder), to: folder + "/domain.xml")
            let started = try libvirt.virsh("create", "--paused", folder + "/domain.xml")
            #expect(started.exitCode == 0, "\(started.errors)\(libvirt.log)")
            try MigrationHosts.waitForForwarding("tap0")
            let prepared = try lab.fdbsteer(
                "prepare vm1 --bridge br0 --primary vfrep0 --standby tap0 --uplink uplink0 --kind net_failover "
                    + "--at standby --address \(CommandLineLab.mac)")
            #expect(prepared.exitCode == 0, "\(prepared.errors)")
            let words = ["virsh", "--connect", libvirt.uri, "qemu-monitor-event", "--loop"]
            let configuration =
                "[libvirt]\nevents_command = \(Unpacked.command("libvirt", words))\n[[guest]]\nid = \"vm1\"\ndomain = \"web1\"\nfollow = true\nkind = \"net_failover\"\n"
                + "standby_device = \"ua-standby0\"\nprimary_device = \"primary0\"\n"
            try DaemonLab.run(in: lab, configuration: configuration) { daemon in
                try daemon.waitFor("hearing libvirt's events")
                try daemon.waitFor("to=standby")
                #expect(try libvirt.virsh("resume", "web1").exitCode == 0)
                // The guest's driver is loaded, and accepts the feature STANDBY.
                try daemon.waitFor("to=coming")
                let status = try lab.fdbsteer("status vm1 --json").output
                #expect(status.contains("\"is_copy_right\" : true"), "\(status)\n\(daemon.log)")
                try BridgeLab.sendFrame(behind: "vfrep0", source: CommandLineLab.mac)
                try daemon.waitForEntry("dev vfrep0 master br0 static")
                // virsh ends with its libvirtd; the domain does not.
                try libvirt.restart()
                try daemon.waitFor("libvirt's events are not heard")
                try daemon.waitFor("hearing libvirt's events", times: 2)
                try daemon.waitForEntry("dev vfrep0 master br0 static")
                #expect(try libvirt.virsh("reset", "web1").exitCode == 0)
                try daemon.waitForEntry("dev tap0 master br0 static")
                #expect(try lab.fdbsteer("verify vm1").exitCode == 0, "\(daemon.log)")
            }
            // The hook ignores a domain without a primary.
            #expect(!libvirt.calls.isEmpty && libvirt.calls.allSatisfy { $0.hasSuffix(": 0, 0") }, "\(libvirt.calls)")
        }
    }
}
