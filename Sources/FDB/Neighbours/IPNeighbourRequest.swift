import CNetlink
public import Netlink

/// One message about one entry of a neighbour table (`neigh_add`, `neigh_delete` and `neigh_get` in net/core/neighbour.c).
public struct IPNeighbourRequest: Request, Hashable, Sendable {
    /// RTM_NEWNEIGH, RTM_DELNEIGH or RTM_GETNEIGH.
    public let type: MessageType
    /// NLM_F_CREATE and NLM_F_REPLACE for RTM_NEWNEIGH.
    public let flags: MessageFlags
    /// What is to be; its key alone for the other two.
    public let neighbour: IPNeighbour

    /// Makes an entry, or changes the one that is there, whoever made it. The protocol of that one stays where `neighbour` has none.
    public static func set(_ neighbour: IPNeighbour) -> IPNeighbourRequest {
        IPNeighbourRequest(type: .newNeighbour, flags: [.create, .replace], neighbour: neighbour)
    }

    /// Deletes an entry. The kernel answers ENOENT if there is none.
    public static func delete(_ ip: IPAddress, interface: Int32) -> IPNeighbourRequest {
        IPNeighbourRequest(type: .deleteNeighbour, flags: [], neighbour: IPNeighbour(key: ip, interface))
    }

    /// Reads an entry. The kernel answers ENOENT if there is none.
    public static func get(_ ip: IPAddress, interface: Int32) -> IPNeighbourRequest {
        IPNeighbourRequest(type: .getNeighbour, flags: [], neighbour: IPNeighbour(key: ip, interface))
    }

    public func encode(into body: inout MessageBody) {
        var fixed = ndmsg()
        fixed.ndm_family = UInt8(neighbour.ip.isIPv6 ? AF_INET6 : AF_INET)
        fixed.ndm_ifindex = neighbour.interface
        fixed.ndm_state = neighbour.state.rawValue
        fixed.ndm_flags = neighbour.flags.rawValue
        body.put(fixed)
        neighbour.ip.octets.withUnsafeBytes { body.put(Int(NDA_DST), bytes: $0) }
        if let mac = neighbour.mac {
            withUnsafeBytes(of: mac.octets) { body.put(Int(NDA_LLADDR), bytes: $0) }
        }
        if let maker = neighbour.protocol { body.put(Int(NDA_PROTOCOL), maker.rawValue) }
    }

    /// The message in words, and the `ip neigh` command that sends the same.
    package func words(name: (Int32) -> String) -> RequestWords {
        let place = "\(neighbour.ip) dev \(name(neighbour.interface))"
        if type == .deleteNeighbour {
            return RequestWords(
                netlink: "RTM_DELNEIGH \(neighbour.ip) \(name(neighbour.interface))",
                bridgeCommand: "ip neigh del \(place)")
        }
        let state =
            neighbour.state.contains(.permanent)
            ? "PERMANENT" : neighbour.state.contains(.noARP) ? "NOARP" : "STALE"
        let mac = neighbour.mac.map { " lladdr \($0)" } ?? ""
        let maker = neighbour.protocol.map { " protocol \($0.rawValue)" } ?? ""
        return RequestWords(
            netlink:
                "RTM_NEWNEIGH \(neighbour.ip)\(mac) \(name(neighbour.interface)) NLM_F_CREATE NLM_F_REPLACE NUD_\(state)"
                + (neighbour.isControlPlanes ? " NTF_EXT_LEARNED" : "")
                + (neighbour.protocol.map { " NDA_PROTOCOL \($0.rawValue)" } ?? ""),
            bridgeCommand: "ip neigh replace \(place)\(mac) nud \(state.lowercased())"
                + (neighbour.isControlPlanes ? " extern_learn" : "") + maker)
    }
}

extension IPNeighbour {
    fileprivate init(key ip: IPAddress, _ interface: Int32) {
        self.init(ip: ip, interface: interface, mac: nil, state: [])
    }
}
