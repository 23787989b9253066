import CLab
import Glibc

/// One of the guests that migrate between two hosts. Its ports have the same names on both.
package struct MigrationGuest: Hashable, Sendable {
    /// The number of the guest, from 0.
    package let number: Int

    /// The most guests, because their MACs must stay below those of the peers.
    package static let most = 99

    /// - Parameter number: from 0 to ``most`` - 1.
    package init(_ number: Int) { self.number = number }

    /// The guest's name in the controller.
    package var name: String { "guest" + (number < 10 ? "0" : "") + "\(number)" }
    /// The guest's MAC: it differs from the peers' only in the last octet, as its observer expects.
    package var mac: String { "52:54:00:fd:b5:" + (number < 15 ? "0" : "") + String(number + 1, radix: 16) }
    /// The port of its VF.
    package var primary: String { "vfrep\(number)" }
    /// The port of its paravirtual NIC.
    package var standby: String { "tap\(number)" }
}

/// Two hosts and the fabric between them, each a network namespace.
///
/// A host has a bridge with an uplink to the fabric, and a port with a peer behind it. For each guest it has a tap that acts
/// as the VF's representor and a tap for the paravirtual NIC. The fabric is a learning bridge with one more peer.
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

        init(name: String) throws {
            self.name = name
            namespace = try NetworkNamespace()
        }

        fileprivate func build(_ guests: [MigrationGuest]) throws {
            let (bridge, taps) = (bridge, guests.flatMap { [$0.primary, $0.standby] })
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
    /// The guests for which there are ports.
    package let guests: [MigrationGuest]
    /// The first guest's IP address, if it has one.
    package static let guestIP = "10.99.0.1"
    /// The MACs of the peers on host a, on host b, and on the fabric. The guest's observer sends to them.
    package static let peerMACs = ["52:54:00:fd:b5:a1", "52:54:00:fd:b5:a2", "52:54:00:fd:b5:a3"]

    /// Makes the namespaces and their bridges.
    ///
    /// - Parameter guests: the number of guests.
    /// - Throws: ``LabError``.
    package init(guests: Int = 1) throws {
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

    /// Gives the fabric's peer an IP address, and a neighbour entry for the first guest.
    ///
    /// - Throws: ``LabError``.
    package func addPeerAddress() throws {
        let far = MigrationHosts.far(fabricPeer)
        try fabric.run {
            try Command.script(
                """
                ip address add 10.99.0.3/24 dev \(far)
                ip neighbour add \(MigrationHosts.guestIP) lladdr \(MigrationGuest(0).mac) dev \(far)
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
