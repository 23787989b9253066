import CNetlink
public import FDB
public import Netlink
import System

/// The VLANs of one bridge port.
public struct PortVLANs: Hashable, Sendable {
    /// All VLANs of the port.
    public private(set) var members: Set<VLANID>
    /// The VLANs whose frames leave without a tag (BRIDGE_VLAN_INFO_UNTAGGED).
    public private(set) var untagged: Set<VLANID>
    /// The VLAN of untagged frames that arrive; nil for none.
    public private(set) var pvid: VLANID?

    /// Makes a membership from its parts.
    public init(members: Set<VLANID> = [], pvid: VLANID? = nil, untagged: Set<VLANID> = []) {
        self.members = members
        self.untagged = untagged
        self.pvid = pvid
    }

    /// Reads the VLANs of a bridge port (RTM_GETVLAN, kernel 5.6 and later; `br_vlan_rtm_dump`).
    ///
    /// - Parameters:
    ///   - port: interface index of the port.
    ///   - socket: in the port's network namespace.
    /// - Returns: no VLANs on a kernel whose bridges do not support them.
    /// - Throws: ``NetlinkError`` if the kernel refuses, or its answer is lost.
    public static func read(port: Int32, using socket: inout CommandSocket) throws(NetlinkError) -> PortVLANs {
        var vlans = PortVLANs()
        do throws(NetlinkError) {
            try socket.dump(PortVLANDump(port: port)) { (header, payload) throws(NetlinkError) in
                if header.type == .newVLAN { try vlans.insert(decoding: payload, port: port) }
            }
        } catch {
            guard error.errno == .notSupported else {
                throw error.during("cannot read the VLANs of ifindex \(port)")
            }
        }
        return vlans
    }

    /// The VLANs of what ports of bridges receive without a tag, by interface index; ports without one are left out.
    ///
    /// - Returns: nothing on a kernel whose bridges do not support VLANs.
    /// - Throws: ``NetlinkError`` if the kernel refuses, or its answer is lost.
    public static func pvids(using socket: inout CommandSocket) throws(NetlinkError) -> [Int32: UInt16] {
        var pvids: [Int32: UInt16] = [:]
        do throws(NetlinkError) {
            try socket.dump(PortVLANDump(port: 0)) { (header, payload) throws(NetlinkError) in
                guard header.type == .newVLAN, payload.count >= MemoryLayout<br_vlan_msg>.size else { return }
                let port = Int32(bitPattern: payload.loadUnaligned(as: br_vlan_msg.self).ifindex)
                var vlans = PortVLANs()
                try vlans.insert(decoding: payload, port: port)
                if let pvid = vlans.pvid { pvids[port] = pvid.rawValue }
            }
        } catch {
            guard error.errno == .notSupported else { throw error.during("cannot read the VLANs of the ports") }
        }
        return pvids
    }

    /// Adds the VLANs of one RTM_NEWVLAN message.
    ///
    /// - Throws: ``NetlinkError`` of code `malformed` for bytes that no kernel sends.
    public mutating func insert(decoding payload: UnsafeRawBufferPointer, port: Int32) throws(NetlinkError) {
        let size = MemoryLayout<br_vlan_msg>.size
        guard payload.count >= size else {
            throw NetlinkError(.malformed, "VLAN message of \(payload.count) bytes where \(size) are the least")
        }
        guard Int32(bitPattern: payload.loadUnaligned(as: br_vlan_msg.self).ifindex) == port else { return }
        var entries = AttributeReader(payload, from: size)
        while let entry = entries.next() {
            guard entry.type == Int(BRIDGE_VLANDB_ENTRY) else { continue }
            var first: UInt16?
            var last: UInt16?
            var isPVID = false
            var isUntagged = false
            for attribute in entry.nested {
                switch attribute.type {
                case Int(BRIDGE_VLANDB_ENTRY_INFO):
                    // struct bridge_vlan_info: flags, number.
                    guard attribute.bytes.count >= 4 else { continue }
                    let flags = attribute.bytes.loadUnaligned(as: UInt16.self)
                    isPVID = flags & UInt16(BRIDGE_VLAN_INFO_PVID) != 0
                    isUntagged = flags & UInt16(BRIDGE_VLAN_INFO_UNTAGGED) != 0
                    first = attribute.bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)
                case Int(BRIDGE_VLANDB_ENTRY_RANGE): last = attribute.integer()
                default: break
                }
            }
            guard let first, first <= last ?? first else { continue }
            for number in first...(last ?? first) {
                guard let vlan = VLANID(rawValue: number) else { continue }
                members.insert(vlan)
                if isUntagged { untagged.insert(vlan) }
            }
            if isPVID { pvid = VLANID(rawValue: first) }
        }
        if entries.isMalformed {
            throw NetlinkError(.malformed, "VLAN message with an attribute that does not fit")
        }
    }
}

/// A dump of one port's VLANs, with consecutive VLANs combined into ranges.
struct PortVLANDump: Request {
    let port: Int32

    var type: MessageType { .getVLAN }
    var flags: MessageFlags { [] }

    func encode(into body: inout MessageBody) {
        var fixed = br_vlan_msg()
        fixed.family = UInt8(AF_BRIDGE)
        fixed.ifindex = UInt32(bitPattern: port)
        body.put(fixed)
    }
}
