public import FDB

/// A frame that tells the network behind which port a guest's address is.
public struct Announcement: Hashable, Sendable {
    /// The guest's address.
    public let address: Address
    /// The guest's IP address that goes with it; nil: a RARP frame, which any switch learns from.
    public let ip: IPAddress?

    /// - Parameters:
    ///   - address: the guest's address.
    ///   - ip: the guest's IP address, for a gratuitous ARP or an unsolicited neighbour advertisement; nil for RARP.
    public init(_ address: Address, ip: IPAddress? = nil) {
        self.address = address
        self.ip = ip
    }

    /// The frame without its checksum, of 60 octets at least, 64 with a tag.
    ///
    /// - Parameter tagType: with the address's VLAN, where it has one, in a tag of this type: 0x8100 (IEEE 802.1Q) or 0x88a8
    ///   (802.1ad); nil for no tag.
    public func frame(tagType: UInt16?) -> [UInt8] {
        let mac = Announcement.octets(address.mac)
        var tag: [UInt8] = []
        if let tagType, let vlan = address.vlan { tag = FrameTag(type: tagType, vlan: vlan).octets }
        let (destination, rest) = content(mac)
        let frame = destination + mac + tag + rest
        let least = 60 + tag.count
        return frame + [UInt8](repeating: 0, count: max(0, least - frame.count))
    }

    /// The destination, and what follows the source and the tag.
    private func content(_ mac: [UInt8]) -> (destination: [UInt8], rest: [UInt8]) {
        let broadcast = [UInt8](repeating: 0xff, count: 6)
        let nobody = [UInt8](repeating: 0, count: 6)
        // Ethernet, IPv4, lengths 6 and 4.
        let kinds: [UInt8] = [0, 1, 0x08, 0, 6, 4]
        guard let ip else {
            // A "request reverse" (RFC 903), as QEMU announces a NIC (net/announce.c).
            return (broadcast, [0x80, 0x35] + kinds + [0, 3] + mac + [0, 0, 0, 0] + mac + [0, 0, 0, 0])
        }
        if ip.isIPv6 {
            let allNodes: [UInt8] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
            return ([0x33, 0x33, 0, 0, 0, 1], [0x86, 0xdd] + Announcement.advertisement(ip.octets, mac, to: allNodes))
        }
        // An announcement of RFC 5227: a request for one's own address.
        return (broadcast, [0x08, 0x06] + kinds + [0, 1] + mac + ip.octets + nobody + ip.octets)
    }

    /// An unsolicited neighbour advertisement with the override flag (RFC 4861, 7.2.6), and its IPv6 header.
    private static func advertisement(_ source: [UInt8], _ mac: [UInt8], to group: [UInt8]) -> [UInt8] {
        var message: [UInt8] = [136, 0, 0, 0, 0x20, 0, 0, 0] + source + [2, 1] + mac
        let length = UInt8(message.count)
        let sum = checksum(source + group + [0, 0, 0, length, 0, 0, 0, 58] + message)
        message[2] = UInt8(sum >> 8)
        message[3] = UInt8(sum & 0xff)
        return [0x60, 0, 0, 0, 0, length, 58, 255] + source + group + message
    }

    /// The Internet checksum (RFC 1071) of an even number of octets.
    static func checksum(_ octets: [UInt8]) -> UInt16 {
        var sum: UInt32 = 0
        for index in stride(from: 0, to: octets.count - 1, by: 2) {
            sum += UInt32(octets[index]) << 8 | UInt32(octets[index + 1])
        }
        while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
        return ~UInt16(truncatingIfNeeded: sum)
    }

    private static func octets(_ mac: MACAddress) -> [UInt8] { withUnsafeBytes(of: mac.octets) { Array($0) } }
}
