public import FDB

/// One question to a guest: whether it takes the frames of one of its ports.
///
/// It is an ARP request without a sender's address (RFC 5227's probe), which Linux and Windows answer and keep no entry of, or a
/// neighbour solicitation (RFC 4861). The answer goes to the question's source, which has its number in it.
public struct Ask: Hashable, Sendable {
    /// Tells the port by which a question was put.
    public let place: UInt8
    /// The number among the questions of an inquiry; it begins anywhere and wraps.
    public let number: UInt16

    /// The first three octets of the source: locally administered, and of no NIC.
    static let prefix: [UInt8] = [0x02, 0xfd, 0x5b]
    /// fe80::fd:5bff:fe00:0, the interface identifier of the prefix (RFC 4291). It is the same for all questions, so that
    /// they leave one neighbour entry in the guest.
    private static let sender: [UInt8] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0xfd, 0x5b, 0xff, 0xfe, 0, 0, 0]

    /// Makes a question from its parts.
    public init(place: UInt8, number: UInt16) {
        self.place = place
        self.number = number
    }

    /// The source of the question, and the destination of its answer: `02:fd:5b:PLACE:N:N`.
    public var mac: MACAddress {
        MACAddress(value: 0x02fd_5b00_0000 | UInt64(place) << 16 | UInt64(number))
    }

    /// - Returns: nil for a MAC that is none of a question.
    package init?(_ mac: some Collection<UInt8>) {
        guard mac.count == 6, mac.starts(with: Ask.prefix) else { return nil }
        let octets = Array(mac)
        self.init(place: octets[3], number: UInt16(octets[4]) << 8 | UInt16(octets[5]))
    }

    /// The frame without its checksum, of 60 octets at least, 64 with a tag.
    ///
    /// It is never unicast: what goes to the guest's MAC by the standby is copied to the primary while a bracket is open.
    ///
    /// - Parameters:
    ///   - ip: the guest's.
    ///   - tag: the IEEE 802.1Q tag, or the 802.1ad one, that the guest's frames have on the port; nil for none.
    public func frame(to ip: IPAddress, tag: FrameTag? = nil) -> [UInt8] {
        let source = withUnsafeBytes(of: mac.octets) { Array($0) }
        let (destination, rest) = ip.isIPv6 ? Ask.solicitation(ip.octets, source) : Ask.request(ip.octets, source)
        let tag = tag?.octets ?? []
        let frame = destination + source + tag + rest
        return frame + [UInt8](repeating: 0, count: max(0, 60 + tag.count - frame.count))
    }

    private static func request(_ ip: [UInt8], _ source: [UInt8]) -> (destination: [UInt8], rest: [UInt8]) {
        let broadcast = [UInt8](repeating: 0xff, count: 6)
        // Ethernet, IPv4, lengths 6 and 4, a request.
        let head: [UInt8] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]
        return (broadcast, head + source + [0, 0, 0, 0] + [0, 0, 0, 0, 0, 0] + ip)
    }

    /// With the unspecified address as its source it would be answered to all nodes; without the option of the source's MAC the
    /// guest would ask for that MAC aloud.
    private static func solicitation(_ ip: [UInt8], _ source: [UInt8]) -> (destination: [UInt8], rest: [UInt8]) {
        let low = Array(ip.suffix(3))
        let group: [UInt8] = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff] + low
        var message: [UInt8] = [135, 0, 0, 0, 0, 0, 0, 0] + ip + [1, 1] + source
        let length = UInt8(message.count)
        let sum = Announcement.checksum(sender + group + [0, 0, 0, length, 0, 0, 0, 58] + message)
        message[2] = UInt8(sum >> 8)
        message[3] = UInt8(sum & 0xff)
        let header: [UInt8] = [0x86, 0xdd, 0x60, 0, 0, 0, 0, length, 58, 255]
        return ([0x33, 0x33, 0xff] + low, header + sender + group + message)
    }
}

/// A VLAN tag as it stands in a frame.
public struct FrameTag: Hashable, Sendable {
    /// 0x8100 (IEEE 802.1Q) or 0x88a8 (802.1ad).
    public let type: UInt16
    /// The VLAN.
    public let vlan: VLANID

    /// Makes a tag from its parts.
    public init(type: UInt16 = 0x8100, vlan: VLANID) {
        self.type = type
        self.vlan = vlan
    }

    var octets: [UInt8] {
        [UInt8(type >> 8), UInt8(type & 0xff), UInt8(vlan.rawValue >> 8), UInt8(vlan.rawValue & 0xff)]
    }
}

/// What a frame says that came from a guest.
public enum GuestWord: Hashable, Sendable {
    /// The guest took a question, and the address asked for is its own.
    case answer(Ask, IPAddress)
    /// The guest tries whether anybody else has an IPv4 address (RFC 5227): another's question would be a conflict to it.
    case probe(IPAddress)
    /// The guest said that an address is its own, by ARP or neighbour discovery.
    case owns(IPAddress)
    /// A packet of the guest had this source; a guest that forwards sends others' packets too.
    case sends(IPAddress)

    /// Decodes a received frame, whose tag the kernel may have removed.
    ///
    /// - Returns: what it says, and the MAC that it came from; nil for a frame that says nothing of the kind.
    public static func decode(_ bytes: UnsafeRawBufferPointer) -> (from: MACAddress, word: GuestWord)? {
        guard bytes.count >= 14, let source = MACAddress(octets: .init(rebasing: bytes[6..<12])) else { return nil }
        var payload = 14
        func type() -> UInt16 { UInt16(bytes[payload - 2]) << 8 | UInt16(bytes[payload - 1]) }
        while [0x8100, 0x88a8].contains(type()), bytes.count >= payload + 4, payload < 22 { payload += 4 }
        let content = UnsafeRawBufferPointer(rebasing: bytes[payload...])
        let ask = Ask(bytes[0..<6])
        let word: GuestWord? =
            switch type() {
            case 0x0806: arp(content, from: source, ask)
            case 0x86dd: neighbour(content, ask)
            case 0x0800: content.count >= 20 ? unicast(content[12..<16]).map { .sends($0) } : nil
            default: nil
            }
        return word.map { (source, $0) }
    }

    private static func arp(_ packet: UnsafeRawBufferPointer, from source: MACAddress, _ ask: Ask?) -> GuestWord? {
        guard packet.count >= 28, packet[0..<6].elementsEqual([0, 1, 0x08, 0, 6, 4]), packet[6] == 0,
            MACAddress(octets: .init(rebasing: packet[8..<14])) == source
        else { return nil }
        let (sender, target) = (unicast(packet[14..<18]), unicast(packet[24..<28]))
        if packet[7] == 1, packet[14..<18].allSatisfy({ $0 == 0 }) { return target.map { .probe($0) } }
        guard packet[7] == 1 || packet[7] == 2, let sender else { return nil }
        if packet[7] == 2, let ask { return .answer(ask, sender) }
        return .owns(sender)
    }

    private static func neighbour(_ packet: UnsafeRawBufferPointer, _ ask: Ask?) -> GuestWord? {
        // An IPv6 header, and a neighbour message with its target; such messages have a hop limit of 255.
        guard packet.count >= 64, packet[6] == 58, packet[7] == 255, packet[41] == 0 else { return nil }
        if packet[40] == 135 { return unicast(packet[8..<24]).map { .owns($0) } }
        guard packet[40] == 136, let target = unicast(packet[48..<64]) else { return nil }
        return ask.map { .answer($0, target) } ?? .owns(target)
    }

    private static func unicast(_ octets: Slice<UnsafeRawBufferPointer>) -> IPAddress? {
        IPAddress(octets: octets).flatMap { $0.isOfAnInterface ? $0 : nil }
    }
}
