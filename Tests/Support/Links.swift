import CNetlink
import Netlink
package import Switchdev

/// A link as the kernel would describe it.
package func link(_ index: Int32, _ name: String, switched: Bool, portName: String? = nil, master: Int32 = 3) throws
    -> Link
{
    struct Described: Request {
        let index: Int32
        let name: String
        let switched: Bool
        let portName: String?
        let master: Int32
        var type: MessageType { .newLink }
        var flags: MessageFlags { [] }
        func encode(into body: inout MessageBody) {
            var fixed = ifinfomsg()
            fixed.ifi_index = index
            fixed.ifi_flags = UInt32(IFF_UP) | UInt32(IFF_LOWER_UP.rawValue)
            body.put(fixed)
            body.put(Int(IFLA_IFNAME), text: name)
            body.put(Int(IFLA_MASTER), master)
            if switched { body.put(Int(IFLA_PHYS_SWITCH_ID), UInt64(7)) }
            if let portName { body.put(Int(IFLA_PHYS_PORT_NAME), text: portName) }
            body.nest(Int(IFLA_LINKINFO)) {
                if name.hasPrefix("br") {
                    $0.put(Int(IFLA_INFO_KIND), text: "bridge")
                    $0.nest(Int(IFLA_INFO_DATA)) { $0.put(Int(IFLA_BR_VLAN_FILTERING), UInt8(name == "brv" ? 1 : 0)) }
                } else {
                    $0.put(Int(IFLA_INFO_SLAVE_KIND), text: "bridge")
                    $0.nest(Int(IFLA_INFO_SLAVE_DATA)) {
                        $0.put(Int(IFLA_BRPORT_STATE), UInt8(BR_STATE_FORWARDING))
                        $0.put(Int(IFLA_BRPORT_LEARNING), UInt8(1))
                        $0.put(Int(IFLA_BRPORT_UNICAST_FLOOD), UInt8(1))
                    }
                }
            }
        }
    }
    var writer = MessageWriter(capacity: 1024)
    let fits = writer.append(
        Described(index: index, name: name, switched: switched, portName: portName, master: master), sequence: 1)
    precondition(fits, "the description of a link fits 2048 bytes")
    return try Link(decoding: UnsafeRawBufferPointer(rebasing: writer.bytes.dropFirst(MessageHeader.size)))
}
