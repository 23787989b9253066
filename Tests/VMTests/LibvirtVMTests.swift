import Glibc
import Lab
import Testing

/// Real libvirt and real VFs: libvirtd calls the hook for a domain whose primary it passes to QEMU through VFIO.
extension MACFilterVMTests {
    /// One host of a migration: its libvirtd, its bridge and the VF of its domain.
    private struct LibvirtHost {
        let daemon: LibvirtDaemon
        let state: String

        /// - Parameter number: 0 or 1: the number of its VF, and the last character of its interfaces' names.
        init(_ number: Int, nic: SRIOVLab, folder: String) throws {
            let ports = ["uplink\(number)", "vfrep\(number)"]
            try Command.script("ip link add br\(number) type bridge vlan_default_pvid 0\nip link set br\(number) up")
            for port in ports {
                try Command.script(
                    """
                    ip link add \(port) type veth peer name \(port)-far
                    ip link set \(port) master br\(number)
                    ip link set \(port) up
                    ip link set \(port)-far up
                    """)
                try MigrationHosts.waitForForwarding(port)
            }
            let place = "\(folder)/\(number)"
            mkdir(place, 0o755)
            state = place + "/state"
            daemon = try LibvirtDaemon(
                name: "host\(number)", number: number, folder: place,
                hook: Machine.products + "/fdbsteer-libvirt-hook",
                configuration:
                    "uplink br\(number) uplink\(number)\nport \(nic.address(number)) vfrep\(number)\nstate \(state)\n")
        }

        func fdbsteer(_ arguments: String) throws -> String {
            let command = try Command.run(
                [Machine.binary] + arguments.split(separator: " ").map(String.init),
                environment: ["FDBSTEER_STATE": state])
            return command.output + command.errors
        }

        func expect(_ words: String...) throws {
            for call in daemon.calls {
                #expect(call.hasSuffix(": 0, 0"), "the hook printed something or failed: \(call)\n\(daemon.hookWords)")
            }
            // Only libvirt 10.5 and later report why a domain was released.
            let calls = daemon.calls.map { call in
                let call = String(call.prefix { $0 != ":" })
                return call.hasPrefix("web1 release end") ? "web1 release end" : call
            }
            #expect(calls == words, "\(daemon.hookWords)\(daemon.log)")
        }
    }

    private static let domain = """
        <domain type='qemu'><name>web1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
        <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
        <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
        <controller type='usb' model='none'/><memballoon model='none'/>
        <interface type='bridge'><mac address='\(mac)'/><source bridge='br0'/><target dev='tap0'/>
        <model type='virtio'/><rom enabled='no'/><teaming type='persistent'/><alias name='ua-standby0'/></interface>
        <interface type='hostdev' managed='yes'><mac address='\(mac)'/><source>VF</source>
        <teaming type='transient' persistent='ua-standby0'/></interface></devices></domain>
        """

    /// A PCI address in libvirt's format.
    private func words(_ address: String) -> String {
        let parts = address.split { $0 == ":" || $0 == "." }
        return "domain='0x\(parts[0])' bus='0x\(parts[1])' slot='0x\(parts[2])' function='0x\(parts[3])'"
    }

    /// The guest's static entries, without the address: `dev PORT master BRIDGE static`.
    private func entries() throws -> [String] {
        try Command.run(["bridge", "fdb", "show"]).output.split(separator: "\n").filter {
            $0.hasPrefix(Self.mac) && $0.contains("static")
        }.map { $0.split(separator: " ").dropFirst().joined(separator: " ") }
    }

    private func expectEntry(_ words: String) throws {
        let entries = try entries()
        #expect(entries == [words], "\(entries)")
    }

    @Test(.enabled(if: LibvirtDaemon.obstacle == nil, "\(LibvirtDaemon.obstacle ?? "")"))
    func libvirtCallsTheHookForADomainWithAVF() throws {
        let nic = try SRIOVLab()
        let temporary = try TemporaryFolder()
        let folder = temporary.path
        defer {
            for name in ["br0", "br1", "uplink0", "uplink1", "vfrep0", "vfrep1"] {
                _ = try? Command.run(["ip", "link", "del", name])
            }
            temporary.remove()
        }
        let source = try LibvirtHost(0, nic: nic, folder: folder)
        let domain = Self.domain.replacing("VF", with: "<address type='pci' \(words(nic.address(0)))/>")
        try TextFile.write(domain, to: folder + "/domain.xml")

        // Start: the hook reads the pair from libvirt's own XML.
        let started = try source.daemon.virsh("create", folder + "/domain.xml")
        #expect(started.exitCode == 0, "\(started.errors)\(source.daemon.log)")
        let start = ["web1 prepare begin -", "web1 start begin -", "web1 started begin -"]
        try source.expect(start[0], start[1], start[2])
        #expect(try source.fdbsteer("status").contains("web1:ua-standby0"), "\(source.daemon.hookWords)")
        try expectEntry("dev tap0 master br0 static")

        // A restarted libvirtd finds its domain again: the operation reconnect, which must not end it.
        try Command.script("bridge fdb replace \(Self.mac) dev vfrep0 master static")
        try source.daemon.restart()
        let reconnect = "web1 reconnect begin -"
        for _ in 0..<100 where !source.daemon.calls.contains(where: { $0.hasPrefix(reconnect) }) { usleep(100_000) }
        try source.expect(start[0], start[1], start[2], reconnect)
        try expectEntry("dev tap0 master br0 static")
        #expect(try source.daemon.virsh("domstate", "web1").output.hasPrefix("running"))

        // The domain moves to another libvirtd, which gives it another VF: prepared as remote there, released here.
        let target = try LibvirtHost(1, nic: nic, folder: folder)
        let xml = try source.daemon.virsh("dumpxml", "--migratable", "web1").output
        try TextFile.write(
            xml.replacing(words(nic.address(0)), with: words(nic.address(1))).replacing("br0", with: "br1")
                .replacing("tap0", with: "tap1"), to: folder + "/there.xml")
        let migrated = try source.daemon.virsh(
            "migrate", "--live", "--domain", "web1", "--desturi", target.daemon.uri, "--migrateuri",
            "unix://\(folder)/migration", "--xml", folder + "/there.xml")
        #expect(migrated.exitCode == 0, "\(migrated.errors)\(source.daemon.log)\(target.daemon.log)")
        try target.expect("web1 migrate begin -", start[0], start[1], start[2])
        #expect(target.daemon.hookWords.contains("web1:ua-standby0: prepare to remote: done"))
        #expect(try target.fdbsteer("status").contains("web1:ua-standby0"), "\(target.daemon.hookWords)")
        // The tap learns there: the announcement that QEMU sends for the guest moves the entry to it.
        for _ in 0..<100 where try entries() == ["dev uplink1 master br1 static"] { usleep(100_000) }
        try expectEntry("dev tap1 master br1 static")
        let end = ["web1 stopped end -", "web1 release end"]
        try source.expect(start[0], start[1], start[2], reconnect, end[0], end[1])
        #expect(try source.fdbsteer("status").contains("no guest"), "\(source.daemon.hookWords)")

        let destroyed = try target.daemon.virsh("destroy", "web1")
        #expect(destroyed.exitCode == 0, "\(destroyed.errors)")
        #expect(try target.fdbsteer("status").contains("no guest"), "\(target.daemon.hookWords)")
        try target.expect("web1 migrate begin -", start[0], start[1], start[2], end[0], end[1])
        withExtendedLifetime((source, target)) {}
    }
}
