import Glibc
import System

/// Two hosts of an EVPN fabric with FRR's zebra and bgpd, each in a network namespace of its own.
///
/// Each host has a bridge with a VXLAN port, whose entries are bgpd's business, a port that acts as the VF's representor, one that acts
/// as the standby's tap, and one with a peer of the guest behind it. The far ends of these are in the calling thread's namespace, because
/// bgpd drops routes to MACs of its own interfaces.
package final class EVPNLab {
    /// A host.
    package struct Host: Sendable {
        /// The first part of its ports' far ends.
        package let name: String
        /// Where its interfaces are.
        package let namespace: NetworkNamespace
        /// The address of its VTEP.
        package let address: String

        package let bridge = "br0"
        /// The VXLAN port.
        package let uplink = "vx100"
        package let primary = "vf0"
        package let standby = "tap0"
        package let peer = "peer0"

        /// The other end of a port, in the namespace of the lab.
        package func far(_ port: String) -> String { "\(name)-\(port)" }
        fileprivate var folder: String { "/run/frr/\(name)" }
    }

    /// A daemon of FRR.
    package enum Daemon: String {
        case zebra, bgpd
    }

    /// The VXLAN's number.
    package static let vni = 100
    private static let programs = "/usr/lib/frr"
    /// How long two daemons may take to find each other, in nanoseconds: bgpd tries a connection again after some seconds.
    private static let patience: Int64 = 60_000_000_000

    /// The host on which the guest starts.
    package let source: Host
    /// The host that the guest moves to.
    package let target: Host
    private var daemons: [SupervisedProcess] = []

    /// Why there can be no such lab here; nil if there can.
    package static var obstacle: String? {
        if let obstacle = Namespace.obstacle { return obstacle }
        guard [Daemon.zebra, .bgpd].allSatisfy({ access("\(programs)/\($0)", X_OK) == 0 }) else {
            return "there is no zebra or bgpd in \(programs): apt-get install --no-install-recommends frr"
        }
        return nil
    }

    /// Runs `body` in a fresh namespace, whose mounts are its own: FRR's folders are empty there.
    ///
    /// - Parameter coalesce: how long bgpd collects changes before it tells its peer, in milliseconds; FRR's default is 1000.
    /// - Throws: ``LabError`` if FRR's daemons do not find each other, or what `body` throws.
    package static func run<T: Sendable>(
        coalesce: Int = 10, _ body: @escaping @Sendable (EVPNLab) throws -> T
    ) throws -> T {
        try Namespace.run(ownMounts: true) { try body(EVPNLab(coalesce: coalesce)) }
    }

    private init(coalesce: Int) throws {
        source = Host(name: "src", namespace: try NetworkNamespace(), address: "10.0.0.1")
        target = Host(name: "dst", namespace: try NetworkNamespace(), address: "10.0.0.2")
        for folder in ["/run", "/var/tmp", "/etc/frr"] { try Command.script("mount -t tmpfs none \(folder)") }
        try Command.script("mkdir /run/frr\nchown frr:frr /run/frr")
        try TextFile.write("", to: "/etc/frr/vtysh.conf")
        try Command.script(
            """
            ip link add underlay netns \(source.namespace.path) type veth peer name underlay netns \(target.namespace.path)
            """)
        for host in [source, target] { try EVPNLab.addInterfaces(host) }
        for (host, other) in [(source, target), (target, source)] {
            try startDaemons(host, other, coalesce: coalesce)
        }
        try waitForFlooding()
    }

    private static func addInterfaces(_ host: Host) throws {
        try host.namespace.run {
            try Command.script(
                """
                ip addr add \(host.address)/24 dev underlay
                ip link set underlay up
                ip link add \(host.bridge) type bridge
                ip link set \(host.bridge) addrgenmode none
                ip link set \(host.bridge) up
                ip link add \(host.uplink) type vxlan id \(vni) local \(host.address) dstport 4789 nolearning
                ip link set \(host.uplink) master \(host.bridge) addrgenmode none
                ip link set \(host.uplink) up
                bridge link set dev \(host.uplink) learning off
                """)
        }
        for port in [host.primary, host.standby, host.peer] {
            let far = host.far(port)
            try Command.script("ip link add \(port) netns \(host.namespace.path) type veth peer name \(far)")
            try Command.script("ip link set \(far) addrgenmode none\nip link set \(far) up")
            try host.namespace.run {
                try Command.script("ip link set \(port) master \(host.bridge) addrgenmode none\nip link set \(port) up")
                try MigrationHosts.waitForForwarding(port)
            }
        }
    }

    private func startDaemons(_ host: Host, _ other: Host, coalesce: Int) throws {
        try Command.script("mkdir \(host.folder)")
        try TextFile.write("hostname \(host.name)\n", to: host.folder + "/zebra.conf")
        try TextFile.write(
            """
            router bgp 65000
             bgp router-id \(host.address)
             no bgp default ipv4-unicast
             neighbor \(other.address) remote-as 65000
             neighbor \(other.address) timers 1 3
             neighbor \(other.address) timers connect 1
             coalesce-time \(coalesce)
             address-family l2vpn evpn
              neighbor \(other.address) activate
              advertise-all-vni
             exit-address-family

            """, to: host.folder + "/bgpd.conf")
        try Command.script("chown -R frr:frr \(host.folder)")
        for daemon in [Daemon.zebra, .bgpd] {
            let words =
                [EVPNLab.programs + "/" + daemon.rawValue, "-f", "\(host.folder)/\(daemon).conf"]
                + ["-i", "\(host.folder)/\(daemon).pid", "-z", host.folder + "/zserv", "--vty_socket", host.folder]
                + ["-P", "0"] + (daemon == .bgpd ? ["-l", host.address] : [])
            let log = "\(host.folder)/\(daemon).log"
            daemons.append(try host.namespace.run { try SupervisedProcess(words, output: log) })
        }
    }

    /// Each host sends frames for unknown addresses to the other: bgpd has told that there is one.
    private func waitForFlooding() throws {
        let end = monotonicNanoseconds() + EVPNLab.patience
        for (host, other) in [(source, target), (target, source)] {
            while try !entries("00:00:00:00:00:00", on: host).contains("dst \(other.address)") {
                guard monotonicNanoseconds() < end else {
                    let said = [Daemon.zebra, .bgpd].map { TextFile.read("\(host.folder)/\($0).log") }.joined()
                    throw LabError("FRR on \(host.name) has not heard of \(other.address): \(said.suffix(2000))")
                }
                usleep(100_000)
            }
        }
    }

    /// The entries of a MAC on a host's bridge and VXLAN device, as `bridge fdb show` prints them.
    package func entries(_ mac: String, on host: Host) throws -> String {
        let all = try host.namespace.run { try Command.run(["bridge", "fdb", "show"]).output }
        return all.split(separator: "\n").filter { $0.hasPrefix(mac + " ") }.joined(separator: "\n")
    }

    /// What a daemon answers to a command.
    package func ask(_ daemon: Daemon, on host: Host, _ command: String) throws -> String {
        try Command.run(["vtysh", "--vty_socket", host.folder, "-d", daemon.rawValue, "-c", command]).output
    }

    /// The number with which bgpd on a host has a route to a MAC (RFC 7432, 15): how often the MAC has moved; nil without a route.
    package func mobility(of mac: String, on host: Host) throws -> Int? {
        let route = try ask(.bgpd, on: host, "show bgp l2vpn evpn route vni \(EVPNLab.vni) mac \(mac)")
        guard route.contains("[\(mac)]") else { return nil }
        return route.matches(of: /MM:(\d+)/).compactMap { Int($0.output.1) }.max() ?? 0
    }

    /// Whether zebra on a host holds a MAC for a duplicate.
    package func isDuplicate(_ mac: String, on host: Host) throws -> Bool {
        try ask(.zebra, on: host, "show evpn mac vni \(EVPNLab.vni) mac \(mac)").contains("Duplicate, detected")
    }
}
