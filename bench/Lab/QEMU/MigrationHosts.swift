import CLab
import Glibc

/// One of the guests that go between two hosts. Its ports have the same names on both.
public struct MigrationGuest: Hashable, Sendable {
    /// From 0 on.
    public let number: Int

    /// Guests have MACs of their own below those of the peers.
    public static let most = 99

    /// - Parameter number: from 0 to ``most`` - 1.
    public init(_ number: Int) { self.number = number }

    /// What the controller calls it.
    public var name: String { "guest" + (number < 10 ? "0" : "") + "\(number)" }
    /// Its MAC: the peers' but for the last octet, as its observer expects.
    public var mac: String { "52:54:00:fd:b5:" + (number < 15 ? "0" : "") + String(number + 1, radix: 16) }
    /// The port of its VF.
    public var primary: String { "vfrep\(number)" }
    /// The port of its paravirtual NIC.
    public var standby: String { "tap\(number)" }
}

/// Two hosts and the fabric between them, each a network namespace.
///
/// A host has a bridge with an uplink to the fabric, for each guest a tap that plays the VF's representor and a tap for the
/// paravirtual NIC, and a port with a peer behind it. The fabric is a bridge that learns, with one more peer.
public final class MigrationHosts: Sendable {
    /// One host. Interface names are the same in both.
    public final class Host: Sendable {
        /// `a` or `b`.
        public let name: String
        /// Where its interfaces are.
        public let namespace: NetworkNamespace
        /// The bridge.
        public let bridge = "br0"
        /// The port towards the fabric.
        public let uplink = "uplink0"
        /// The port of another guest of this host, and where that guest sends.
        public let peer = "peer0"

        init(name: String) throws {
            self.name = name
            namespace = try NetworkNamespace()
        }

        fileprivate func build(_ guests: [MigrationGuest]) throws {
            let (bridge, taps) = (bridge, guests.flatMap { [$0.primary, $0.standby] })
            try namespace.run {
                try MigrationHosts.makeBridge(bridge)
                for tap in taps {
                    // IPv6 is off everywhere: nothing but guest and bench is to teach a bridge.
                    try Command.script(
                        """
                        ip tuntap add dev \(tap) mode tap
                        ip link set \(tap) addrgenmode none
                        ip link set \(tap) master \(bridge)
                        ip link set \(tap) up
                        """)
                }
            }
            try MigrationHosts.addPeer(peer, to: bridge, in: namespace)
        }
    }

    /// The hosts.
    public let hosts: [Host]
    /// Where the fabric is.
    public let fabric: NetworkNamespace
    /// The fabric's port with a peer.
    public let fabricPeer = "peer0"
    /// The guests that there is room for.
    public let guests: [MigrationGuest]
    /// The first guest's address, where it has one.
    public static let guestIP = "10.99.0.1"
    /// The MACs of the peers: on host a, on host b, on the fabric. The guest's observer sends to them.
    public static let peerMACs = ["52:54:00:fd:b5:a1", "52:54:00:fd:b5:a2", "52:54:00:fd:b5:a3"]

    /// Makes the namespaces and their bridges.
    ///
    /// - Parameter guests: how many.
    /// - Throws: ``LabError``.
    public init(guests: Int = 1) throws {
        self.guests = (0..<guests).map(MigrationGuest.init)
        fabric = try NetworkNamespace()
        hosts = [try Host(name: "a"), try Host(name: "b")]
        try fabric.run { try MigrationHosts.makeBridge("fabric") }
        try MigrationHosts.addPeer(fabricPeer, to: "fabric", in: fabric)
        for host in hosts {
            try host.build(self.guests)
            let (far, uplink, bridge, path) = ("host-\(host.name)", host.uplink, host.bridge, host.namespace.path)
            try fabric.run {
                try Command.script(
                    """
                    ip link add \(far) type veth peer name \(uplink)
                    ip link set \(far) addrgenmode none
                    ip link set \(uplink) addrgenmode none
                    ip link set \(uplink) netns \(path)
                    ip link set \(far) master fabric
                    ip link set \(far) up
                    """)
            }
            try host.namespace.run {
                try Command.script(
                    """
                    ip link set \(uplink) addrgenmode none
                    ip link set \(uplink) master \(bridge)
                    ip link set \(uplink) up
                    """)
                try MigrationHosts.waitForForwarding(uplink)
            }
            try fabric.run { try MigrationHosts.waitForForwarding(far) }
        }
    }

    /// Gives the fabric's peer an IP address, and tells it the first guest's.
    ///
    /// - Throws: ``LabError``.
    public func addPeerAddress() throws {
        let far = MigrationHosts.far(fabricPeer)
        try fabric.run {
            try Command.script(
                """
                ip address add 10.99.0.3/24 dev \(far)
                ip neighbour add \(MigrationHosts.guestIP) lladdr \(MigrationGuest(0).mac) dev \(far)
                """)
        }
    }

    /// Where the peer behind a port sends from.
    public static func far(_ port: String) -> String { port + "-far" }

    private static func makeBridge(_ name: String) throws {
        try Command.script(
            """
            ip link add \(name) type bridge
            ip link set \(name) addrgenmode none
            ip link set \(name) up
            """)
    }

    private static func addPeer(_ port: String, to bridge: String, in namespace: NetworkNamespace) throws {
        try namespace.run {
            try Command.script(
                """
                ip link add \(port) type veth peer name \(far(port))
                ip link set \(port) addrgenmode none
                ip link set \(far(port)) addrgenmode none
                ip link set \(port) master \(bridge)
                ip link set \(port) up
                ip link set \(far(port)) up
                """)
            try waitForForwarding(port)
        }
    }

    /// The bridge hears of a carrier by a work queue: until then the port is disabled. For the calling thread's namespace.
    ///
    /// - Throws: ``LabError``.
    public static func waitForForwarding(_ port: String) throws {
        for _ in 0..<1000 {
            if try Command.run(["bridge", "link", "show", "dev", port]).output.contains("state forwarding") { return }
            usleep(2000)
        }
        throw LabError("\(port) did not come up as a bridge port")
    }
}
