import CNetlinkRoute
import FDB
import Lab
import Netlink
import Switchdev
import Testing

let obstacle = Namespace.obstacle

/// Snapshots of links against the running kernel, and against libnl-route's decoder.
@Suite(.enabled(if: obstacle == nil, "needs root: network namespaces cannot be made"))
struct LinksTests {
    @Test func settingsAreReadAsTheyWereSet() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            try Command.script(
                """
                ip link set \(lab.bridge) type bridge ageing_time 4200
                bridge link set dev \(lab.primary) learning off flood off isolated on
                bridge link set dev \(lab.standby) hairpin on mcast_flood off bcast_flood off neigh_suppress on
                ip link set \(lab.uplink) mtu 1400
                """)
            var socket = try CommandSocket()
            let links = try Links.snapshot(using: &socket)
            let bridge = try #require(links[lab.bridge])
            #expect(bridge.bridge?.ageingTime == 4200)
            #expect(bridge.bridge?.filtersVLANs == false)
            let primary = try #require(links[lab.primary]?.bridgePort)
            #expect(primary.state == .forwarding)
            #expect(primary.flags == [.isolated, .multicastFlood, .broadcastFlood])
            let standby = try #require(links[lab.standby]?.bridgePort)
            #expect(standby.flags == [.learning, .flood, .hairpin, .neighbourSuppression])
            #expect(links[lab.uplink]?.mtu == 1400)
            #expect(links[lab.primary]?.kind == "veth")
            #expect(links[lab.primary]?.isEswitchPort == false)
            #expect(links.ports(of: bridge.index).map(\.name) == [lab.uplink, lab.primary, lab.standby])
            #expect(try Links.read(named: [lab.primary, "nothing"], using: &socket) == [links[lab.primary], nil])
            try socket.perform(PortSettingRequest.learning(port: try #require(links[lab.primary]).index, isOn: true))
            let changed = try Links.read([try #require(links[lab.primary]).index], using: &socket)
            #expect(changed[0]?.bridgePort?.flags.contains(.learning) == true)
        }
    }

    @Test func libnlRouteReadsTheSame() throws {
        try Namespace.run {
            _ = try BridgeLab(extraPorts: ["extra0", "extra1"])
            try Command.script("ip link set extra1 down\nbridge link set dev extra0 learning off")
            var socket = try CommandSocket()
            let links = try Links.snapshot(using: &socket)
            let peer = try #require(nl_socket_alloc())
            defer { nl_socket_free(peer) }
            #expect(nl_connect(peer, NETLINK_ROUTE) == 0)
            for (family, isBridgeFamily) in [(AF_UNSPEC, false), (AF_BRIDGE, true)] {
                var cache: OpaquePointer?
                #expect(rtnl_link_alloc_cache(peer, family, &cache) == 0)
                defer { nl_cache_free(cache) }
                var compared = 0
                var object = nl_cache_get_first(cache)
                while let current = object {
                    object = nl_cache_get_next(current)
                    let link = try #require(links[Int32(rtnl_link_get_ifindex(current))])
                    compared += 1
                    if isBridgeFamily {
                        guard let port = link.bridgePort else { continue }
                        #expect(rtnl_link_bridge_get_port_state(current) == Int32(port.state.rawValue))
                        let flags = UInt32(bitPattern: rtnl_link_bridge_get_flags(current))
                        #expect((flags & RTNL_BRIDGE_LEARNING.rawValue != 0) == port.flags.contains(.learning))
                        #expect((flags & RTNL_BRIDGE_UNICAST_FLOOD.rawValue != 0) == port.flags.contains(.flood))
                    } else {
                        #expect(String(cString: rtnl_link_get_name(current)) == link.name)
                        #expect(rtnl_link_get_master(current) == link.master ?? 0)
                        #expect(rtnl_link_get_mtu(current) == link.mtu)
                        #expect((rtnl_link_get_flags(current) & 1 != 0) == link.isUp)
                    }
                }
                #expect(compared >= 6)
            }
        }
    }

    @Test func libnlRouteReadsWhatWeWrite() throws {
        try Namespace.run {
            let lab = try BridgeLab()
            var socket = try CommandSocket()
            let port = try #require(try Interface.index(of: lab.primary))
            let mac = try Address("52:54:00:00:00:07")
            try socket.perform(
                EntryRequest.set(mac, port: port, state: .noARP, flags: [.create, .replace], entryFlags: .sticky))
            let peer = try #require(nl_socket_alloc())
            defer { nl_socket_free(peer) }
            #expect(nl_connect(peer, NETLINK_ROUTE) == 0)
            var cache: OpaquePointer?
            #expect(rtnl_neigh_alloc_cache_flags(peer, &cache, UInt32(NL_CACHE_AF_ITER)) == 0)
            defer { nl_cache_free(cache) }
            var found = 0
            var object = nl_cache_get_first(cache)
            while let current = object {
                object = nl_cache_get_next(current)
                guard rtnl_neigh_get_ifindex(current) == port, let address = rtnl_neigh_get_lladdr(current) else {
                    continue
                }
                let octets = UnsafeRawBufferPointer(start: nl_addr_get_binary_addr(address), count: 6)
                guard MACAddress(octets: octets) == mac.mac else { continue }
                found += 1
                #expect(rtnl_neigh_get_state(current) == Int32(EntryState.noARP.rawValue))
                #expect(rtnl_neigh_get_flags(current) & UInt32(EntryFlags.sticky.rawValue) != 0)
            }
            #expect(found == 1)
        }
    }
}
