import CNetlink
import FDB
import Glibc
import Lab
import Netlink
import Switchdev
import Testing

/// Devlink ports, VLANs, PCI functions and drivers' tables, from hand-made bytes and files.
@Suite struct DiscoveryTests {
    /// The payload of a message, as a decoder gets it.
    private func payload(_ write: @escaping (inout MessageBody) -> Void) -> [UInt8] {
        struct Written: Request {
            let write: (inout MessageBody) -> Void
            var type: MessageType { MessageType(rawValue: 100) }
            var flags: MessageFlags { [] }
            func encode(into body: inout MessageBody) { write(&body) }
        }
        var writer = MessageWriter(capacity: 1024)
        let fits = writer.append(Written(write: write), sequence: 1)
        #expect(fits)
        return Array(writer.bytes.dropFirst(MessageHeader.size))
    }

    @Test func devlinkPorts() throws {
        let bytes = payload {
            $0.put(genlmsghdr(cmd: 7, version: 1, reserved: 0))
            $0.put(Int(DEVLINK_ATTR_BUS_NAME.rawValue), text: "pci")
            $0.put(Int(DEVLINK_ATTR_DEV_NAME.rawValue), text: "0000:03:00.0")
            $0.put(Int(DEVLINK_ATTR_PORT_INDEX.rawValue), UInt32(4))
            $0.put(Int(DEVLINK_ATTR_PORT_NETDEV_IFINDEX.rawValue), UInt32(12))
            $0.put(Int(DEVLINK_ATTR_PORT_FLAVOUR.rawValue), UInt16(4))
            $0.put(Int(DEVLINK_ATTR_PORT_CONTROLLER_NUMBER.rawValue), UInt32(1))
            $0.put(Int(DEVLINK_ATTR_PORT_PCI_PF_NUMBER.rawValue), UInt16(0))
            $0.put(Int(DEVLINK_ATTR_PORT_PCI_VF_NUMBER.rawValue), UInt16(3))
            $0.put(Int(DEVLINK_ATTR_PORT_EXTERNAL.rawValue), UInt8(1))
        }
        let port = try bytes.withUnsafeBytes { bytes in try DevlinkPort(decoding: bytes) }
        #expect(
            port
                == DevlinkPort(
                    handle: DevlinkHandle(bus: "pci", device: "0000:03:00.0"), index: 4, flavour: .pciVF, interface: 12,
                    controller: 1, pf: 0, vf: 3, isExternal: true))
        // Every shorter message is an error, or a port with fewer known properties, never a trap.
        for length in 0..<bytes.count {
            _ = bytes.prefix(length).withUnsafeBytes { bytes in try? DevlinkPort(decoding: bytes) }
        }
    }

    @Test func vlansOfAPort() throws {
        let bytes = payload {
            var fixed = br_vlan_msg()
            fixed.family = UInt8(AF_BRIDGE)
            fixed.ifindex = 5
            $0.put(fixed)
            for (flags, first, last) in [(UInt16(BRIDGE_VLAN_INFO_PVID), UInt16(10), UInt16?.none), (0, 20, 22)] {
                $0.nest(Int(BRIDGE_VLANDB_ENTRY)) {
                    $0.put(Int(BRIDGE_VLANDB_ENTRY_INFO), UInt32(flags) | UInt32(first) << 16)
                    if let last { $0.put(Int(BRIDGE_VLANDB_ENTRY_RANGE), last) }
                }
            }
        }
        var vlans = PortVLANs()
        try bytes.withUnsafeBytes { bytes in try vlans.insert(decoding: bytes, port: 5) }
        #expect(vlans.pvid == VLANID(rawValue: 10))
        #expect(vlans.members == Set([10, 20, 21, 22].compactMap(VLANID.init)))
        var others = PortVLANs()
        try bytes.withUnsafeBytes { bytes in try others.insert(decoding: bytes, port: 6) }
        #expect(others == PortVLANs())
        for length in 0..<bytes.count {
            var some = PortVLANs()
            bytes.prefix(length).withUnsafeBytes { bytes in _ = try? some.insert(decoding: bytes, port: 5) }
        }
    }

    @Test func virtualFunctionsBySysfs() throws {
        let folder = try TemporaryFolder()
        defer { folder.remove() }
        let root = folder.path
        try Command.script(
            """
            mkdir \(root)/0000:03:00.0 \(root)/0000:03:00.2 \(root)/0000:03:00.3 \(root)/0000:04:00.0
            ln -s ../0000:03:00.2 \(root)/0000:03:00.0/virtfn0
            ln -s ../0000:03:00.3 \(root)/0000:03:00.0/virtfn1
            ln -s ../0000:03:00.0 \(root)/0000:03:00.2/physfn
            ln -s ../0000:03:00.0 \(root)/0000:03:00.3/physfn
            """)
        let functions = PCIFunctions(root: root)
        #expect(functions.virtualFunction("0000:03:00.3")?.number == 1)
        #expect(functions.virtualFunction("0000:03:00.3")?.physicalFunction == "0000:03:00.0")
        #expect(functions.address(ofVF: 0, of: "0000:03:00.0") == "0000:03:00.2")
        #expect(functions.address(ofVF: 2, of: "0000:03:00.0") == nil)
        #expect(functions.virtualFunction("0000:04:00.0") == nil)
        #expect(functions.exists("0000:04:00.0") && !functions.exists("0000:05:00.0"))
        for hostile in ["", "..", "../0000:03:00.2", "0000:03:00.2/", "/etc"] {
            #expect(functions.virtualFunction(hostile) == nil && !functions.exists(hostile))
        }
    }

    @Test func theDriversTable() throws {
        // The format of mlx5's esw/bridge_debugfs.c (Linux 6.12).
        let text = """
            DEV              MAC               VLAN              PACKETS                BYTES              LASTUSE FLAGS
            enp8s0f0_0       e4:0a:05:08:00:03  100                    0                    0           4295567112   0x0
            enp8s0f0_1       52:54:00:00:00:01    0                    2                  120           4295567112   0x1
            nonsense
            """
        let table = DriverTable(parsing: text)
        #expect(table.ports.count == 2)
        #expect(table.ports[try Address("e4:0a:05:08:00:03/100")] == ["enp8s0f0_0"])
        #expect(table.ports[try Address("52:54:00:00:00:01")] == ["enp8s0f0_1"])
    }

    @Test func driversAndMisses() {
        #expect(Driver(name: "mlx5e_rep").miss == .slowPath)
        #expect(Driver(name: "ice").miss == .slowPath)
        #expect(Driver(name: "rocker").miss == .floods)
        #expect(Driver(name: "mlxsw_spectrum").miss == .floods)
        #expect(Driver(name: "unheard-of").miss == .unknown)
    }

    @Test func aKernelWithoutDevlinkHasNoEswitches() throws {
        var socket = try CommandSocket(.generic)
        #expect(try socket.family(named: "no-such-family") == nil)
        #expect(try socket.family(named: "nlctrl") == .genericControl)
        if try socket.family(named: "devlink") == nil { #expect(try Devlink.snapshot().ports.isEmpty) }
    }
}
