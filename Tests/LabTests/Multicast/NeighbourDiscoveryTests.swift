import Glibc
import Lab
import Testing

/// IPv6 between two kernels in separate namespaces: a guest with two NICs on the bridge's ports, and a peer behind the
/// uplink that must find the guest's MAC by neighbour discovery.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct NeighbourDiscoveryTests {
    /// A namespace that lives as long as one of the test's processes.
    private struct FarEnd: ~Copyable {
        let process: pid_t
        private let holder: RunningCommand

        init() throws {
            let running = try RunningCommand(["unshare", "-n", "sleep", "60"])
            process = running.process
            holder = running
        }

        /// The process is in its namespace once it has become sleep.
        func waitUntilReady() throws {
            for _ in 0..<500 {
                if TextFile.read("/proc/\(process)/comm") == "sleep\n" { return }
                usleep(2000)
            }
            throw LabError("no namespace was made")
        }

        func script(_ lines: String) throws {
            let inside = lines.split(separator: "\n").map { "nsenter -t \(process) -n \($0.drop { $0 == " " })" }
            try Command.script(inside.joined(separator: "\n"))
        }

        func output(_ line: String) throws -> String {
            try Command.run(["nsenter", "-t", "\(process)", "-n"] + line.split(separator: " ").map(String.init)).output
        }

        consuming func end() {
            kill(process, SIGKILL)
            _ = holder.wait()
        }
    }

    private static let address = "2001:db8::1"

    /// The guest: its own bridge stands for net_failover. Like net_failover it keeps its MAC, its addresses and its groups, and
    /// reports nothing, when the NIC below it changes. A spare port keeps its carrier in the meantime.
    private static func boot(_ guest: borrowing FarEnd) throws {
        for nic in ["vfrep0-far", "tap0-far"] {
            try Command.script("ip link set \(nic) netns \(guest.process)")
            try guest.script("ip link set \(nic) addrgenmode none\nip link set \(nic) up")
        }
        try guest.script(
            """
            ip link add gbr type bridge mcast_snooping 0
            ip link set gbr address \(CommandLineLab.mac)
            ip link add spare type veth peer name spare-far
            ip link set spare addrgenmode none
            ip link set spare-far addrgenmode none
            ip link set spare master gbr up
            ip link set spare-far up
            ip link set vfrep0-far master gbr
            busybox sysctl -q net.ipv6.conf.gbr.mldv2_unsolicited_report_interval=10
            busybox sysctl -q net.ipv6.conf.gbr.accept_dad=0
            ip link set gbr up
            ip -6 addr add \(address)/64 dev gbr nodad
            """)
    }

    private static func fail(over guest: borrowing FarEnd, from old: String, to new: String) throws {
        try guest.script("ip link set \(old)-far nomaster\nip link set \(new)-far master gbr")
        for _ in 0..<500 {
            if try guest.output("bridge link show dev \(new)-far").contains("state forwarding") { return }
            usleep(2000)
        }
        throw LabError("the guest's \(new)-far does not forward")
    }

    /// Whether the peer finds the guest's MAC again.
    private static func finds(_ peer: borrowing FarEnd) throws -> Bool {
        try peer.script("ip -6 neigh flush dev uplink0-far")
        _ = try Command.run(
            ["nsenter", "-t", "\(peer.process)", "-n", "bash", "-c", "echo > /dev/udp/\(address)/9"])
        for _ in 0..<60 {
            if try peer.output("ip -6 neigh show \(address)").contains("lladdr \(CommandLineLab.mac)") { return true }
            usleep(20_000)
        }
        return false
    }

    @Test func worksAfterARedirectionAndNotAfterAMoveOfTheEntryAlone() throws {
        try CommandLineLab.run(flooding: false) { lab in
            try lab.lab.makeQuerier(isModern: true)
            let guest = try FarEnd()
            let peer = try FarEnd()
            do {
                try guest.waitUntilReady()
                try peer.waitUntilReady()
                try Command.script("ip link set uplink0-far netns \(peer.process)")
                try peer.script(
                    """
                    busybox sysctl -q net.ipv6.conf.uplink0-far.accept_dad=0
                    ip link set uplink0-far up
                    ip -6 addr add 2001:db8::2/64 dev uplink0-far nodad
                    """)
                try NeighbourDiscoveryTests.boot(guest)
                let group = GroupFrame.solicitedNode(NeighbourDiscoveryTests.address)
                #expect(try lab.lab.waitForGroups("vfrep0") { $0.contains(group) })
                // Reports are sent twice; none may come after the switch.
                usleep(300_000)
                try lab.prepare()
                #expect(try NeighbourDiscoveryTests.finds(peer))

                try Command.script("bridge fdb replace \(CommandLineLab.mac) dev tap0 master static")
                try NeighbourDiscoveryTests.fail(over: guest, from: "vfrep0", to: "tap0")
                #expect(try !NeighbourDiscoveryTests.finds(peer), "solicitations reached a port that did not join")

                try NeighbourDiscoveryTests.fail(over: guest, from: "tap0", to: "vfrep0")
                try Command.script("bridge fdb replace \(CommandLineLab.mac) dev vfrep0 master static")
                #expect(try NeighbourDiscoveryTests.finds(peer))

                let moved = try lab.fdbsteer("switch vm1 --to standby")
                #expect(moved.exitCode == 0 && moved.output.contains("1 group membership moved"), "\(moved.output)")
                try NeighbourDiscoveryTests.fail(over: guest, from: "vfrep0", to: "tap0")
                #expect(try NeighbourDiscoveryTests.finds(peer))
                // The reason is not a late report.
                #expect(try lab.lab.groups("vfrep0").isEmpty)
            } catch {
                Issue.record(error)
            }
            guest.end()
            peer.end()
        }
    }
}
