/// Two hosts, each a bridge, and a third bridge that joins them and learns, like a switch of the physical network.
///
/// Each host has an uplink to the fabric, a port that acts as the VF's representor, one that acts as the standby's tap, and
/// a port with a peer of the guest behind it; one more peer is on the fabric. It is made in the calling thread's namespace.
package struct FabricLab: Sendable {
    /// A host: a bridge and its ports.
    package struct Host: Sendable {
        /// The bridge.
        package let bridge: String
        /// The port towards the fabric.
        package var uplink: String { bridge + "-up" }
        /// The port of the VF.
        package var primary: String { bridge + "-vf" }
        /// The port of the paravirtual NIC.
        package var standby: String { bridge + "-tap" }
        /// The port of another guest on this host.
        package var peer: String { bridge + "-peer" }

        var ports: [String] { [uplink, primary, standby, peer] }
    }

    /// The host on which the guest starts.
    package let source = Host(bridge: "srcbr")
    /// The host that the guest moves to.
    package let target = Host(bridge: "dstbr")
    /// The bridge between the hosts.
    package let fabric = "fabric"
    /// The fabric's port with a peer behind it.
    package let fabricPeer = "fabric-peer"
    /// The guest's MAC.
    package let guestMAC = "52:54:00:fd:b5:01"

    /// Makes the bridges and their ports, all up and forwarding.
    ///
    /// - Throws: ``LabError``.
    package init() throws {
        for bridge in [source.bridge, target.bridge, fabric] {
            // IPv6 is off everywhere, so the bridges learn only from the bench's own frames.
            try Command.script(
                """
                ip link add \(bridge) type bridge
                ip link set \(bridge) addrgenmode none
                ip link set \(bridge) up
                """)
        }
        for host in [source, target] {
            try FabricLab.addPair(host.uplink, of: host.bridge, FabricLab.far(host.uplink), of: fabric)
            for port in [host.primary, host.standby, host.peer] {
                try FabricLab.addPair(port, of: host.bridge, FabricLab.far(port), of: nil)
            }
        }
        try FabricLab.addPair(fabricPeer, of: fabric, FabricLab.far(fabricPeer), of: nil)
        for port in ports { try MigrationHosts.waitForForwarding(port) }
    }

    /// The other end of a port; for an uplink, the fabric's port.
    package static func far(_ port: String) -> String { port + "-far" }

    private var ports: [String] {
        source.ports + target.ports + [source, target].map { FabricLab.far($0.uplink) } + [fabricPeer]
    }

    private static func addPair(_ port: String, of bridge: String, _ far: String, of other: String?) throws {
        try Command.script(
            """
            ip link add \(port) type veth peer name \(far)
            ip link set \(port) addrgenmode none
            ip link set \(far) addrgenmode none
            ip link set \(port) master \(bridge)
            \(other.map { "ip link set \(far) master \($0)" } ?? "")
            ip link set \(port) up
            ip link set \(far) up
            """)
    }

    /// Switches flooding of unknown unicast on or off, on all ports of the hosts and the fabric.
    ///
    /// - Throws: ``LabError``.
    package func setFlooding(_ isOn: Bool) throws {
        for port in ports { try Command.script("bridge link set dev \(port) flood \(isOn ? "on" : "off")") }
    }

    /// The frame that QEMU sends for a guest that runs on a new host: a broadcast reverse ARP request from the guest's MAC
    /// (`announce_self_create` in net/announce.c). Bridges on its path learn where the guest is.
    package static func announcement(of mac: String) -> [UInt8] {
        let mac = Interface.octets(mac)
        let request: [UInt8] = [0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]
        let frame = [UInt8](repeating: 0xff, count: 6) + mac + request + mac + [0, 0, 0, 0] + mac + [0, 0, 0, 0]
        return frame + [UInt8](repeating: 0, count: 60 - frame.count)
    }
}
