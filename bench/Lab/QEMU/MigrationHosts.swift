import CLab
import Glibc

/// One of the guests that migrate between two hosts. Its ports have the same names on both.
package struct MigrationGuest: Hashable, Sendable {
    /// The number of the guest, from 0.
    package let number: Int
    /// It has a failover pair; else one port, that of its paravirtual NIC.
    package let isPair: Bool

    /// The most guests, because their MACs must stay below those of the peers.
    package static let most = 99

    /// - Parameters:
    ///   - number: from 0 to ``most`` - 1.
    ///   - isPair: it has a failover pair.
    package init(_ number: Int, isPair: Bool = true) {
        self.number = number
        self.isPair = isPair
    }

    /// The guest's name in the controller.
    package var name: String { "guest" + (number < 10 ? "0" : "") + "\(number)" }
    /// The guest's MAC: it differs from the peers' only in the last octet, as its observer expects.
    package var mac: String { "52:54:00:fd:b5:" + (number < 15 ? "0" : "") + String(number + 1, radix: 16) }
    /// Its IP address, where it has one.
    package var ip: String { "10.99.0.\(number + 1)" }
    /// The port of its VF.
    package var primary: String { "vfrep\(number)" }
    /// The port of its paravirtual NIC.
    package var standby: String { "tap\(number)" }
    /// Its ports; it is in full use once the guest sends by the last one.
    package var ports: [String] { isPair ? [standby, primary] : [standby] }
}

/// Two hosts and the fabric between them, each a network namespace.
///
/// A host has a bridge with an uplink to the fabric, and a port with a peer behind it. For each guest it has a tap for the
/// paravirtual NIC and, if the guest has a pair, one that acts as the VF's representor. The fabric is a learning bridge with one more peer.
package final class MigrationHosts: Sendable {
    /// One host. Interface names are the same in both.
    package final class Host: Sendable {
        /// `a` or `b`.
        package let name: String
        /// The namespace of its interfaces.
        package let namespace: NetworkNamespace
        /// The bridge.
        package let bridge = "br0"
        /// The port towards the fabric.
        package let uplink = "uplink0"
        /// The port of another guest on this host, from which that guest sends.
        package let peer = "peer0"
        /// The fabric's port towards this host.
        package var fabricPort: String { "host-\(name)" }

        init(name: String) throws {
            self.name = name
            namespace = try NetworkNamespace()
        }

        fileprivate func build(_ guests: [MigrationGuest]) throws {
            let (bridge, taps) = (bridge, guests.flatMap(\.ports))
            try namespace.run {
                try MigrationHosts.makeBridge(bridge)
                for tap in taps {
                    // IPv6 is off everywhere, so the bridges learn only from the guest and the bench.
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
    package let hosts: [Host]
    /// The namespace of the fabric.
    package let fabric: NetworkNamespace
    /// The fabric's port with a peer behind it.
    package let fabricPeer = "peer0"
    /// The bridges send frames for addresses that they do not know to all ports.
    package let floodsUnknown: Bool
    /// The bridge of the fabric.
    package let fabricBridge = "fabric"
    /// The guests for which there are ports.
    package let guests: [MigrationGuest]
    /// The MACs of the peers on host a, on host b, and on the fabric. The guest's observer sends to them.
    package static let peerMACs = ["52:54:00:fd:b5:a1", "52:54:00:fd:b5:a2", "52:54:00:fd:b5:a3"]

    /// Makes the namespaces and their bridges.
    ///
    /// - Parameters:
    ///   - guests: the number of guests.
    ///   - arePairs: the guests have failover pairs, else one port each.
    ///   - floodsUnknown: the bridges send frames for addresses that they do not know to all ports.
    /// - Throws: ``LabError``.
    package init(guests: Int = 1, arePairs: Bool = true, floodsUnknown: Bool = true) throws {
        self.guests = (0..<guests).map { MigrationGuest($0, isPair: arePairs) }
        self.floodsUnknown = floodsUnknown
        fabric = try NetworkNamespace()
        hosts = [try Host(name: "a"), try Host(name: "b")]
        let fabricBridge = fabricBridge
        try fabric.run { try MigrationHosts.makeBridge(fabricBridge) }
        try MigrationHosts.addPeer(fabricPeer, to: fabricBridge, in: fabric)
        for host in hosts {
            try host.build(self.guests)
            let (far, uplink, bridge, path) = (host.fabricPort, host.uplink, host.bridge, host.namespace.path)
            try fabric.run {
                try Command.script(
                    """
                    ip link add \(far) type veth peer name \(uplink)
                    ip link set \(far) addrgenmode none
                    ip link set \(uplink) addrgenmode none
                    ip link set \(uplink) netns \(path)
                    ip link set \(far) master \(fabricBridge)
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
        if !floodsUnknown { try stopFlooding() }
    }

    private func stopFlooding() throws {
        let places =
            hosts.map { ($0.namespace, [$0.uplink, $0.peer] + guests.flatMap(\.ports)) }
            + [(fabric, [fabricPeer] + hosts.map(\.fabricPort))]
        for (namespace, ports) in places {
            try namespace.run {
                try Command.script(ports.map { "bridge link set dev \($0) flood off" }.joined(separator: "\n"))
            }
        }
    }

    /// Gives the fabric's peer an IP address, and a neighbour entry for the first guest.
    ///
    /// - Throws: ``LabError``.
    package func addPeerAddress() throws {
        let far = MigrationHosts.far(fabricPeer)
        try fabric.run {
            try Command.script(
                """
                ip address add 10.99.0.3/24 dev \(far)
                ip neighbour add \(MigrationGuest(0).ip) lladdr \(MigrationGuest(0).mac) dev \(far)
                """)
        }
    }

    /// The interface from which the peer behind a port sends.
    package static func far(_ port: String) -> String { port + "-far" }

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

    /// Waits until a port of the calling thread's namespace forwards. The bridge learns of a carrier from a work queue; until
    /// then the port is disabled.
    ///
    /// - Throws: ``LabError``.
    package static func waitForForwarding(_ port: String) throws {
        for _ in 0..<1000 {
            if try Command.run(["bridge", "link", "show", "dev", port]).output.contains("state forwarding") { return }
            usleep(2000)
        }
        throw LabError("\(port) did not come up as a bridge port")
    }
}
