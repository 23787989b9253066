import CLab
import Glibc

/// A bridge with an uplink, a port that acts as the VF's representor and one that acts as the standby's tap.
///
/// Each port is one end of a veth pair; a frame sent into the other end (`uplink0-far`) enters the bridge through the port.
/// The bridge is made in the calling thread's network namespace.
package struct BridgeLab: Sendable {
    /// The bridge.
    package let bridge = "br0"
    /// The port towards the physical network.
    package let uplink = "uplink0"
    /// The port of the VF.
    package let primary = "vfrep0"
    /// The port of the paravirtual NIC.
    package let standby = "tap0"
    /// The guest's MAC.
    package let guestMAC = "52:54:00:fd:b5:01"
    /// The MAC of a host that sends to the guest.
    package let peerMAC = "52:54:00:fd:b5:fe"

    /// The other end of a port.
    package static func far(_ port: String) -> String { port + "-far" }

    /// Makes the bridge and its ports, all up and forwarding.
    ///
    /// - Parameter extraPorts: further ports of the bridge.
    /// - Throws: ``LabError``.
    package init(extraPorts: [String] = []) throws {
        try Command.script("ip link add \(bridge) type bridge\nip link set \(bridge) up")
        for port in [uplink, primary, standby] + extraPorts { try addPort(port) }
    }

    /// Adds a veth pair with one end in the bridge.
    ///
    /// IPv6 is off, because neighbour discovery would teach the bridge the far ends' MACs.
    package func addPort(_ name: String) throws {
        let far = BridgeLab.far(name)
        try Command.script(
            """
            ip link add \(name) type veth peer name \(far)
            ip link set \(name) addrgenmode none
            ip link set \(far) addrgenmode none
            ip link set \(name) master \(bridge)
            ip link set \(name) up
            ip link set \(far) up
            """)
        // The kernel hears of a carrier from a work queue (net/core/link_watch.c): until then the port is disabled, and the far
        // end refuses to send (ENOBUFS).
        for _ in 0..<1000 {
            let isForwarding = try Command.run(["bridge", "link", "show", "dev", name]).output.contains(
                "state forwarding")
            if try isForwarding && Command.run(["ip", "link", "show", "dev", far]).output.contains("state UP") {
                return
            }
            usleep(2000)
        }
        throw LabError("\(name) did not come up as a port of \(bridge)")
    }

    /// Switches flooding of unknown unicast on or off, on all ports.
    package func setFlooding(_ isOn: Bool) throws {
        for port in [uplink, primary, standby] {
            try Command.script("bridge link set dev \(port) flood \(isOn ? "on" : "off")")
        }
    }

    /// Sends one frame from the far end of a port, and waits until the port has received it.
    package static func sendFrame(behind port: String, source: String, type: UInt16 = 0x88b6) throws {
        try Interface.sendFrame(from: far(port), source: source, to: port, type: type)
    }

    /// The bridge's entry of a MAC as `bridge fdb show` prints it; nil if there is none.
    package func entry(_ mac: String) throws -> String? {
        try Command.run(["bridge", "fdb", "show", "br", bridge]).output.split(separator: "\n").first {
            $0.hasPrefix(mac)
        }.map(String.init)
    }
}
