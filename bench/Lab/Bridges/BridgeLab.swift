import CLab
import Glibc

/// A bridge with an uplink, a port that acts as the VF's representor and one that acts as the standby's tap.
///
/// Each port is one end of a veth pair; a frame sent into the other end (`uplink0-far`) enters the bridge through the port.
/// The bridge is made in the calling thread's network namespace.
public struct BridgeLab: Sendable {
    /// The bridge.
    public let bridge = "br0"
    /// The port towards the physical network.
    public let uplink = "uplink0"
    /// The port of the VF.
    public let primary = "vfrep0"
    /// The port of the paravirtual NIC.
    public let standby = "tap0"
    /// The guest's MAC.
    public let guestMAC = "52:54:00:fd:b5:01"
    /// The MAC of a host that sends to the guest.
    public let peerMAC = "52:54:00:fd:b5:fe"

    /// The other end of a port.
    public static func far(_ port: String) -> String { port + "-far" }

    /// Makes the bridge and its ports, all up and forwarding.
    ///
    /// - Parameter extraPorts: further ports of the bridge.
    /// - Throws: ``LabError``.
    public init(extraPorts: [String] = []) throws {
        try Command.script("ip link add \(bridge) type bridge\nip link set \(bridge) up")
        for port in [uplink, primary, standby] + extraPorts { try addPort(port) }
    }

    /// Adds a veth pair with one end in the bridge.
    ///
    /// IPv6 is off, because neighbour discovery would teach the bridge the far ends' MACs.
    public func addPort(_ name: String) throws {
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
        // The bridge learns of a carrier from a work queue; until then the port is disabled.
        for _ in 0..<1000 {
            if try Command.run(["bridge", "link", "show", "dev", name]).output.contains("state forwarding") { return }
            usleep(2000)
        }
        throw LabError("\(name) did not come up as a port of \(bridge)")
    }

    /// Switches flooding of unknown unicast on or off, on all ports.
    public func setFlooding(_ isOn: Bool) throws {
        for port in [uplink, primary, standby] {
            try Command.script("bridge link set dev \(port) flood \(isOn ? "on" : "off")")
        }
    }

    /// Sends one frame from the far end of a port, and waits until the port has received it.
    public static func sendFrame(behind port: String, source: String) throws {
        try Interface.sendFrame(from: far(port), source: source, to: port)
    }

    /// The bridge's entry of a MAC as `bridge fdb show` prints it; nil if there is none.
    public func entry(_ mac: String) throws -> String? {
        try Command.run(["bridge", "fdb", "show", "br", bridge]).output.split(separator: "\n").first {
            $0.hasPrefix(mac)
        }.map(String.init)
    }
}
